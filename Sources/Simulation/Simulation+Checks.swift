import Base
import Lease
import Log
import MVCC
import Membership
import Proto
import Raft
import Replica
import Storage

// What must be true at an answer and at the end.
extension Simulation {
  /// What was acknowledged must be left, on a quorum of the disks, if the power goes right now.
  func checkDurable(_ index: UInt64) throws {
    var holders: Set<MemberID> = []
    for node in nodes where node.lives > 0 {
      // What a lost disk had nobody can tell; nor does it come back to vote.
      if node.isLost {
        holders.insert(node.id)
      } else if try lastDurableIndex(node) >= index {
        holders.insert(node.id)
      }
    }
    let quorums = oracle.votersCommitting(index)
    guard
      quorums.contains(where: { voters in
        voters.count { holders.contains($0) } > voters.count / 2
      })
    else {
      throw Violation(
        .durability,
        "entry \(index) was acknowledged, a crash leaves it on \(holders.sorted()) of \(quorums)"
      )
    }
  }

  private func lastDurableIndex(_ node: SimulatedNode) throws -> UInt64 {
    if node.flipped != nil { return .max }
    let copy = node.files.copy()
    copy.crash()
    copy.limit(bytes: nil)
    let recovered = try SegmentedLog.open(
      directory: SimulatedMember.directory,
      files: copy,
      configuration: SimulatedMember.logConfiguration,
      metadata: LogMetadata(clusterID: founding.clusterID, memberID: node.id)
    ).recovered
    // A snapshot is in the store before the log knows of it.
    let stored = try node.disk.content(at: SimulatedStorage.path)?
      .metadata(StoredMetadata.appliedKey).map { try LogMark(decoding: $0) }
    return max(recovered.lastIndex.rawValue, stored?.index.rawValue ?? 0)
  }

  /// Lets two members' stores be compared now and then as leaders do it by HashKV: at a revision that
  /// both have, with the same compactions behind it.
  func scheduleComparison() {
    later(UInt64(100 + random.below(900)) * 1_000_000) { [unowned self] in
      try compareStores()
      if isFaulty { scheduleComparison() }
    }
  }

  private func compareStores() throws {
    let up = nodes.filter(\.isUp).shuffled(using: &random).prefix(2).compactMap(\.member)
    let revision = up.map(\.store.currentRevision).min() ?? Revision(0)
    guard up.count == 2, up[0].store.compactedRevision == up[1].store.compactedRevision,
      revision > up[0].store.compactedRevision
    else { return }
    let hashes = try up.map { try $0.store.hashKV(revision: revision, reader: $0.reader).hash }
    count { $0.comparedStores += 1 }
    guard hashes[0] == hashes[1] else {
      throw Violation(
        .equalState,
        "m\(up[0].node.number)'s HashKV at \(revision) is not that of m\(up[1].node.number)"
      )
    }
  }

  func checkProgress() throws {
    let missing = memberNodes.filter { !provenNodes.contains($0.number) }
    guard lostMember == nil else {
      throw Violation(
        .progress,
        "a member whose disks are gone cannot be removed: \(nodes.map(Self.describe))"
      )
    }
    guard missing.isEmpty else {
      throw Violation(
        .progress,
        "no write at \(missing.map(\.name)) in \(Self.progressNanosecondsMax / 1_000_000_000) s: "
          + "\(nodes.map(Self.describe))"
      )
    }
  }

  /// Whether everything that was asked for has come to an end, everywhere.
  var isAtRest: Bool {
    guard calls.isEmpty, now > healTime + Self.restNanoseconds else { return false }
    return memberNodes.allSatisfy { node in
      guard let member = node.member else { return false }
      let status = member.machine.status
      return member.isIdle && status.applied.rawValue == oracle.applied
        && status.lastIndex == status.applied
    }
  }

  /// How long after the faults short leases must be gone: their time, twice a leader's extension, and
  /// some for the clocks.
  private static let restNanoseconds: UInt64 = 30_000_000_000
  private static let shortLeaseSeconds: Int64 = 20

  func checkEnd() throws {
    guard isAtRest else {
      throw Violation(.progress, "the cluster does not come to rest: \(nodes.map(Self.describe))")
    }
    let clean = oracle.store.makeReader()
    let expected = try oracle.store.hashKV(revision: Revision(0), reader: clean)
    try checkRemoved()
    for node in memberNodes {
      guard let member = node.member else { continue }
      guard try member.store.hashKV(revision: Revision(0), reader: member.reader) == expected else {
        throw Violation(.equalState, "m\(node.number)'s HashKV is not that of a clean run")
      }
      try checkLeases(member)
    }
    for watcher in watchers { try watcher.checkEnd() }
    try checkHistory()
  }

  private static func describe(_ node: SimulatedNode) -> String {
    guard let member = node.member else { return "m\(node.number) down" }
    return "m\(node.number) \(member.machine.status) idle \(member.isIdle)"
  }

  private func checkLeases(_ member: SimulatedMember) throws {
    let leases = member.machine.leases
    if let fault = leases.findFault() { throw Violation(.lease, fault) }
    guard leases.count == oracle.model.leases.count else {
      throw Violation(
        .lease,
        "\(leases.count) leases, in the model \(oracle.model.leases.count)"
      )
    }
    for (id, expected) in oracle.model.leases.sorted(by: { $0.key < $1.key }) {
      guard leases.stored(LeaseID(id)) == expected,
        leases.keys(of: LeaseID(id)) == oracle.model.keys(on: id)
      else { throw Violation(.lease, "lease \(id) is not that of the model") }
      guard
        expected.grantedSeconds > Self.shortLeaseSeconds
          || (oracle.promises[id]?.until ?? 0) + Self.restNanoseconds > now
      else { throw Violation(.lease, "lease \(id) does not expire") }
    }
  }

  /// Whether what clients saw is linearizable. What the cluster does by itself, the expiry of leases,
  /// is part of the history.
  private func checkHistory() throws {
    var operations = history.filter { !$0.operation.isVoid }
    for expiry in oracle.expiries {
      operations.append(
        TimedOperation(
          KeyValueOperation(
            request: .expiry(expiry.lease),
            outcome: .message([]),
            revision: expiry.revision
          ),
          call: expiry.after,
          end: expiry.at
        )
      )
    }
    let outcome = LinearizabilityChecker.check(
      operations,
      KeyValueModel(),
      stepsMax: Self.checkerStepsMax
    )
    switch outcome {
    case .linearizable: return
    case .gaveUp: count { $0.checkerGaveUp += 1 }
    case .violated(let placed, let stuck):
      let operation = stuck.map { "\(operations[$0])" } ?? "-"
      throw Violation(
        .linearizability,
        "of \(operations.count) operations \(placed) can be put in order, not \(operation)"
      )
    }
  }
}
