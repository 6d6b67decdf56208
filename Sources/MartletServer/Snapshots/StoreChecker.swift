import Base
import Logging
import MVCC
import Raft
import Replica

/// Compares what the members' stores hold, by HashKV, which finds what rots in a store's file before an
/// entry depends on it; `HashChecker` finds what entries did.
///
/// The leader does it at the times of a plan; with InitialCorruptCheck a member does it before it
/// serves. Without flags there is none of it, as in etcd: every comparison reads each store as a whole.
final class StoreChecker: Sendable {
  /// When a leader compares; nil: never.
  struct Plan: Sendable {
    /// Always after so long.
    var interval: Duration?
    /// After so long if there was a compaction since the last time.
    var compactionInterval: Duration?
  }

  private let member: MemberContext
  private let comparison: StoreComparison
  private let tasks: [Task<Void, Never>]

  init(_ member: MemberContext, hasher: StoreHasher, _ plan: Plan) {
    self.member = member
    let comparison = StoreComparison(member: member, hasher: hasher)
    self.comparison = comparison
    var tasks: [Task<Void, Never>] = []
    if let interval = plan.interval {
      tasks.append(
        Task.detached {
          while await Self.wait(interval) {
            if Self.leads(member) { _ = await Self.compare(comparison) }
          }
        }
      )
    }
    if let interval = plan.compactionInterval {
      tasks.append(
        Task.detached {
          var checked = member.store.compactedRevision
          while await Self.wait(interval) {
            let compacted = member.store.compactedRevision
            guard Self.leads(member), compacted != checked else { continue }
            if await Self.compare(comparison) { checked = compacted }
          }
        }
      )
    }
    self.tasks = tasks
  }

  /// Ends the comparison under way, too, as soon as its answers have come.
  func stop() async {
    for task in tasks { task.cancel() }
    for task in tasks { await task.value }
  }

  /// Returns false once the task is cancelled.
  private static func wait(_ interval: Duration) async -> Bool {
    (try? await Task.sleep(for: interval)) != nil
  }

  private static func leads(_ member: MemberContext) -> Bool {
    member.status.current.role == .leader
  }

  /// Compares, says what came of it, and raises the alarm where a member differs. Returns whether all
  /// members were compared.
  private static func compare(_ comparison: StoreComparison) async -> Bool {
    let finding = await comparison.run()
    guard !Task.isCancelled else { return false }
    let member = comparison.member
    logUnknown(finding, member)
    if finding.suspects.isEmpty {
      member.logger.info(
        "the members' stores were compared and are alike",
        metadata: [
          "revision": "\(finding.revision)", "compactRevision": "\(finding.compactRevision)",
          "members": "\(finding.hashes.count)",
        ]
      )
    }
    member.raiseCorruption(of: finding.suspects, finding.report)
    return finding.unknown.isEmpty
  }

  private static func logUnknown(_ finding: StoreComparison.Finding, _ member: MemberContext) {
    for (other, cause) in finding.unknown {
      member.logger.warning(
        "a member's store could not be compared",
        metadata: ["member": "\(other)", "revision": "\(finding.revision)", "cause": "\(cause)"]
      )
    }
  }

  // MARK: Before serving

  private static let initialTriesMax = 20
  private static let initialPause = Duration.milliseconds(250)

  /// Compares this member's store with those of the others that answer, whoever leads. Throws
  /// `StartError` when it is not what a majority has, or, without one, when it is not what any other has.
  func checkBeforeServing() async throws {
    var finding = await comparison.run()
    for _ in 1..<Self.initialTriesMax where !finding.isComparison && !finding.unknown.isEmpty {
      try await Task.sleep(for: Self.initialPause)
      finding = await comparison.run()
    }
    Self.logUnknown(finding, member)
    guard !finding.suspects.isEmpty else {
      if finding.isComparison { member.logger.info("this member's store is as the others'") }
      return
    }
    guard finding.suspects.contains(member.memberID) || !finding.isByMajority else {
      member.logger.error(
        "another member's store differs from this one's",
        metadata: finding.report.logMetadata
      )
      return
    }
    throw StartError.failed(
      "InitialCorruptCheck: this member's store differs from the others' at revision "
        + "\(finding.revision) (\(finding.report.hashText)): remove the member, add it again, and "
        + "start it with an empty data directory"
    )
  }
}

extension StoreChecker.Plan {
  /// What the flags say.
  init(_ source: ServerConfiguration) {
    interval = source.corruptCheckTime > .zero ? source.corruptCheckTime : nil
    let comparesCompactions = FeatureGates.isOn(
      FeatureGates.compactHashCheck,
      in: source.featureGates
    )
    compactionInterval = comparesCompactions ? source.compactHashCheckTime : nil
  }
}
