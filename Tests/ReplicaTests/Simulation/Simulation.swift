import Base
import Lease
import Log
import MVCC
import Proto
import Raft
import Replica
import Storage

/// Clients, one member, its disks, and everything that can go wrong with them, all from one seed.
final class Simulation {
  let seed: UInt64
  let broken: BrokenRule?
  private(set) var step = 0
  private(set) var crashes = 0
  private(set) var acknowledged = 0
  private(set) var renewed = 0
  var expired: Int { oracle.expired }
  var checkpoints: Int { oracle.checkpoints }

  private var random: SeededGenerator
  private let files: SimulatedFileSystem
  private let disk = MemoryDisk()
  private let oracle: Oracle
  private var member: SimulatedMember
  /// Proposed, not answered; the operation tells how to read the answer.
  private var waiting: [UInt64: ReplicatedOperation] = [:]
  private var nextCall: UInt64 = 1
  private var revisionMax: Int64 = 1
  /// The highest index that an answer vouched for.
  private var acknowledgedIndex: UInt64 = 0
  private var isDiskFull = false
  /// The clock, in nanoseconds.
  private var now: UInt64 = 1

  static let stepCount = 500
  /// Turns within which a healthy member must come to rest.
  static let settleTurnsMax = 3000

  init(seed: UInt64, broken: BrokenRule? = nil) throws {
    self.seed = seed
    self.broken = broken
    random = SeededGenerator(seed: seed)
    files = SimulatedFileSystem(seed: random.next())
    oracle = try Oracle()
    member = try SimulatedMember(
      files: files,
      disk: disk,
      epoch: 1,
      seed: random.next(),
      broken: broken
    )
  }

  func run() throws {
    do {
      while step < Self.stepCount {
        step += 1
        try takeStep()
        if member.mustCrash {
          while !member.reports.isEmpty { member.deliverReport() }
          try turn()
          try crash()
        }
      }
      try crash()
      try settle()
    } catch {
      throw Violation("seed \(seed), step \(step): \(error)")
    }
  }

  private func passTime() {
    switch random.below(40) {
    case 0: pass(seconds: random.below(200))
    case 1..<8: pass(seconds: random.below(8))
    default: pass(nanoseconds: random.below(100_000_000))
    }
  }

  private func pass(seconds: Int = 0, nanoseconds: Int = 0) {
    now += UInt64(seconds) * 1_000_000_000 + UInt64(nanoseconds)
    oracle.now = now
    member.machine.now = now
  }

  /// One tick, after a pause perhaps, or some as they come.
  private func tick() {
    member.machine.tick()
    for _ in 0..<random.below(4) {
      pass(nanoseconds: random.below(900_000_000))
      member.machine.tick()
    }
    if random.oneIn(3) { member.machine.proposeExpiry() }
  }

  private func takeStep() throws {
    passTime()
    switch random.below(100) {
    case 0..<14: propose()
    case 14..<38: try turn()
    case 38..<52: member.append()
    case 52..<62: member.sync()
    case 62..<74: member.deliverReport()
    case 74..<81: member.stepFlush()
    case 81..<87: try member.stepCompaction(limit: 1 + random.below(20))
    case 87: member.prepareSegment()
    case 88..<91: tick()
    case 91: member.seal()
    case 92: try checkRead()
    case 93: renew()
    case 94..<97: member.reopen()
    case 97: injectFault()
    case 98: heal()
    default: if random.oneIn(2) { try crash() }
    }
  }

  // MARK: Clients

  private func propose() {
    var batch = ProposalBatch(epoch: member.epoch, capacity: 64)
    for _ in 0...random.below(4) {
      let request = RequestMaker.make(revision: revisionMax, &random)
      let handle = RequestHandle(loop: random.below(2), call: nextCall)
      waiting[nextCall] = request.operation
      nextCall += 1
      request.bytes.withUnsafeBytes {
        batch.append(request.operation, handle: handle, request: $0)
      }
    }
    member.machine.receive(proposals: batch.take())
  }

  /// A renewal that says OK is a promise.
  private func renew() {
    for _ in 0...random.below(4) {
      let lease = RequestMaker.lease(&random)
      if case .renewed(let seconds) = member.machine.leases.renew(LeaseID(lease), now: now) {
        oracle.promises[lease] = now + UInt64(seconds) * 1_000_000_000
        renewed += 1
      }
    }
  }

  // MARK: The member

  private func turn() throws {
    member.turn()
    let status = member.machine.status
    if status.applied.rawValue > oracle.applied {
      try readLog()
      try oracle.advance(through: status.applied.rawValue)
    }
    guard member.store.stateHash == oracle.hashes[Int(status.applied.rawValue)] else {
      throw Violation("the state hash at \(status.applied) is not that of a clean replay")
    }
    revisionMax = max(revisionMax, member.store.currentRevision.rawValue)
    var newest: UInt64 = 0
    for queue in member.machine.replies where !queue.isEmpty {
      var failure: Violation?
      ReplyQueue.forEachAnswer(in: queue.take()) { call, answer in
        do throws(Violation) {
          newest = max(newest, try check(answer, of: call))
        } catch {
          failure = failure ?? error
        }
      }
      if let failure { throw failure }
    }
    if newest > 0 && random.oneIn(4) { try checkDurable(newest) }
    if broken == .releaseTooEarly, random.oneIn(4), !member.isStalled,
      let term = oracle.term(at: status.applied)
    {
      member.releaseApplied(term: term)
    }
  }

  /// Checks one answer; returns the index of its entry, 0 when it was refused.
  private func check(_ answer: ReplyQueue.Answer, of call: UInt64) throws(Violation) -> UInt64 {
    guard let operation = waiting.removeValue(forKey: call) else {
      throw Violation("an answer to call \(call), which does not wait")
    }
    guard let (index, outcome) = oracle.outcomes[call] else {
      guard case .failure(let error) = answer, error == .noLeader || error == .tooManyRequests
      else { throw Violation("call \(call) is answered and not applied") }
      oracle.noteRefused(call)
      return 0
    }
    guard try Self.outcome(answer, operation) == outcome else {
      throw Violation("call \(call), a \(operation) at \(index): wrong answer")
    }
    acknowledged += 1
    acknowledgedIndex = max(acknowledgedIndex, index)
    return index
  }

  private static func outcome(
    _ answer: ReplyQueue.Answer,
    _ operation: ReplicatedOperation
  ) throws(Violation) -> Oracle.Outcome {
    guard case .message(let bytes) = answer else {
      guard case .failure(let error) = answer else { return .message([]) }
      return .failure(error)
    }
    do {
      func bare(_ header: Etcdserverpb.ResponseHeader?) throws -> Etcdserverpb.ResponseHeader {
        guard let header, header.memberID == DirectMember.id.rawValue, header.raftTerm > 0 else {
          throw Violation("a response without a header")
        }
        return Etcdserverpb.ResponseHeader(revision: header.revision)
      }
      switch operation {
      case .put:
        var response = try Etcdserverpb.PutResponse(decoding: bytes)
        response.header = try bare(response.header)
        return .message(response.encoded())
      case .deleteRange:
        var response = try Etcdserverpb.DeleteRangeResponse(decoding: bytes)
        response.header = try bare(response.header)
        return .message(response.encoded())
      case .txn:
        var response = try Etcdserverpb.TxnResponse(decoding: bytes)
        response.header = try bare(response.header)
        return .message(response.encoded())
      case .leaseGrant:
        var response = try Etcdserverpb.LeaseGrantResponse(decoding: bytes)
        response.header = try bare(response.header)
        return .message(response.encoded())
      default:
        // Nothing but a header, as with LeaseRevoke and LeaseCheckpoint.
        var response = try Etcdserverpb.CompactionResponse(decoding: bytes)
        response.header = try bare(response.header)
        return .message(response.encoded())
      }
    } catch {
      throw Violation("an answer that does not decode: \(error)")
    }
  }

  /// Tells the oracle what the log holds now. A log that is being written may end in a broken frame.
  private func readLog() throws {
    var entries: [RecoveredEntry] = []
    do throws(LogError) {
      try LogDump.forEachRecord(
        directory: SimulatedMember.directory,
        files: files,
        readBlockBytes: 8 << 10
      ) { dumped in
        guard case .entry(let entry) = dumped.record else { return }
        // A retry after a failure replaces what the disk had got.
        while let last = entries.last, last.index >= entry.index { entries.removeLast() }
        entries.append(entry)
      }
    } catch {
      guard member.isStalled || member.log.isDirty else { throw error }
    }
    for entry in entries { try oracle.note(entry) }
  }

  /// An acknowledged entry must survive if the power goes right now.
  private func checkDurable(_ index: UInt64) throws {
    let copy = files.copy()
    copy.crash()
    copy.limit(bytes: nil)
    let recovered = try SegmentedLog.open(
      directory: SimulatedMember.directory,
      files: copy,
      configuration: SimulatedMember.logConfiguration,
      metadata: SimulatedMember.metadata
    ).recovered
    guard recovered.lastIndex.rawValue >= index else {
      throw Violation("entry \(index) was acknowledged, a crash leaves \(recovered.lastIndex)")
    }
    for entry in recovered.entries where entry.index.rawValue <= index {
      guard oracle.isSame(entry) else {
        throw Violation("a crash would leave another entry at \(entry.index)")
      }
    }
  }

  private func checkRead() throws {
    let store = member.store
    let compacted = store.compactedRevision.rawValue
    let current = store.currentRevision.rawValue
    // The model is as far as the store but for right after a restart.
    guard oracle.applied == member.machine.status.applied.rawValue else { return }
    let oldest = max(compacted, 1)
    let revision = oldest + Int64(random.below(Int(current - oldest) + 1))
    try checkRange(at: revision, "a read")
  }

  private func checkRange(at revision: Int64, _ what: String) throws {
    let store = member.store
    let request = Etcdserverpb.RangeRequest(key: [0], rangeEnd: [0], revision: revision)
    let arena = Arena()
    let view = try request.encoded().withUnsafeBytes {
      try Etcdserverpb.RangeRequest.View(decoding: $0, in: arena)
    }
    var reply = ByteWriter()
    try store.range(
      view,
      header: ResponseHeader(clusterID: ClusterID(0), memberID: .none, raftTerm: .zero),
      reader: member.reader,
      into: &reply
    )
    let found = try Etcdserverpb.RangeResponse(decoding: [UInt8](reply.bytes))
    guard found == oracle.model.range(request, header: store.currentRevision.rawValue) else {
      throw Violation("\(what) at revision \(revision) finds other pairs than the model")
    }
  }

  // MARK: Faults

  private func injectFault() {
    switch random.below(5) {
    case 0: files.fail(.syncData)
    case 1: files.fail(.write, skip: random.below(3))
    case 2:
      files.limit(bytes: files.usedBytes)
      isDiskFull = true
    case 3: files.fail([.preallocate, .rename, .syncDirectory][random.below(3)])
    default:
      member.disk.setCommitFault(.diskFull(during: "commit"))
    }
  }

  private func heal() {
    files.limit(bytes: nil)
    isDiskFull = false
    member.disk.setCommitFault(nil)
  }

  /// The power goes, or only the process; the member starts again.
  private func crash() throws {
    crashes += 1
    heal()
    if random.oneIn(4) { files.restart() } else { files.crash() }
    waiting.removeAll()
    member = try SimulatedMember(
      files: files,
      disk: disk,
      epoch: UInt64(crashes) + 1,
      seed: random.next(),
      broken: broken
    )
    member.machine.now = now
    let index = member.restoredIndex.rawValue
    guard index <= oracle.applied else {
      throw Violation("the store says that it has applied \(index), beyond \(oracle.applied)")
    }
    guard member.store.stateHash == oracle.hashes[Int(index)],
      member.store.currentRevision.rawValue == oracle.revisions[Int(index)]
    else { throw Violation("the store's content is not that of its applied index \(index)") }
    guard member.log.lastIndex.rawValue >= acknowledgedIndex else {
      throw Violation("\(acknowledgedIndex) was acknowledged, the log ends \(member.log.lastIndex)")
    }
    if !random.oneIn(4) { try settle() }
  }

  /// Lets a healthy member come to rest, and checks everything.
  private func settle() throws {
    heal()
    for _ in 0..<Self.settleTurnsMax {
      member.machine.tick()
      member.reopen()
      try turn()
      while !member.undurable.isEmpty && !member.isStalled {
        for _ in member.undurable { member.append() }
        member.sync()
      }
      if member.release != nil { member.sync() }
      while !member.reports.isEmpty { member.deliverReport() }
      member.stepFlush()
      try member.stepCompaction(limit: 1000)
      let status = member.machine.status
      if member.isIdle && status.role == .leader && status.applied == status.lastIndex {
        return try checkAll()
      }
    }
    throw Violation("the member does not come to rest: \(member.machine.status)")
  }

  private func checkLeases() throws(Violation) {
    let leases = member.machine.leases
    if let fault = leases.findFault() { throw Violation(fault) }
    guard leases.count == oracle.model.leases.count else {
      throw Violation("\(leases.count) leases, in the model \(oracle.model.leases.count)")
    }
    for (id, expected) in oracle.model.leases.sorted(by: { $0.key < $1.key }) {
      guard leases.stored(LeaseID(id)) == expected,
        leases.keys(of: LeaseID(id)) == oracle.model.keys(on: id)
      else { throw Violation("lease \(id) is not that of the model") }
    }
  }

  private func checkAll() throws {
    try turn()
    let applied = member.machine.status.applied.rawValue
    guard applied >= acknowledgedIndex else {
      throw Violation("\(acknowledgedIndex) was acknowledged, \(applied) is applied")
    }
    let revision = member.store.currentRevision.rawValue
    guard revision == oracle.model.current, revision >= revisionMax else {
      throw Violation("revision \(revision) after \(revisionMax), model \(oracle.model.current)")
    }
    guard member.store.compactedRevision.rawValue == oracle.model.compacted else {
      throw Violation("compacted at \(member.store.compactedRevision)")
    }
    try checkLeases()
    let clean = oracle.store.makeReader()
    guard
      try member.store.hashKV(revision: Revision(0), reader: member.reader)
        == oracle.store.hashKV(revision: Revision(0), reader: clean)
    else { throw Violation("HashKV is not that of a clean run") }
    try checkRange(at: revision, "the whole")
    try checkRange(at: max(oracle.model.compacted, 1), "the compacted revision")
    guard waiting.isEmpty else {
      throw Violation("calls \(waiting.keys.sorted()) are not answered")
    }
  }
}
