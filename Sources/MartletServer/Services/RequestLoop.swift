import Auth
import Base
import CoreMetrics
import Lease
import MVCC
import NIOCore
import Proto
import RPC
import Replica
import Storage

/// What the services of one event loop share: the way to the replica and back, and the loop's
/// reader of the store.
///
/// Confined to its event loop; `Sendable` only so that other threads can hand it back to that
/// loop by `execute`.
final class RequestLoop: @unchecked Sendable {
  let number: Int
  let eventLoop: any EventLoop
  let shared: MemberContext
  let calls: RPCServerLoop
  let reader: StoreReader
  /// Who makes the calls. First used when all services are registered.
  private(set) lazy var callers = CallerResolver(
    shared.auth,
    tokens: shared.tokens,
    paths: calls.methodPaths
  )
  let watchFeed: WatchFeed
  /// The loop's watches, from before the first request on. On the event loop only.
  private(set) var watches: EventWatchService?

  private var scratch = ByteWriter(capacity: RequestLoop.scratchCapacity)
  private var proposals: ProposalBatch
  private var isHandOverScheduled = false
  private let limits: OverloadLimits
  private var reads = ReadQueue()
  private var timeouts: ProposalTimeouts
  /// Streams that wait for answers to proposals.
  var streamAnswers: [CallID: any StreamAnswers] = [:]
  /// Reads that the pool has, by their calls.
  private var pooledReads: [CallID: DropFlag] = [:]

  private static let scratchCapacity = 64 << 10
  private static let timeoutCheckInterval = TimeAmount.milliseconds(500)
  /// Answers longer than this are handed on without a copy.
  private static let copiedAnswerBytesMax = 32 << 10
  /// A batch is handed over early when it holds this much.
  private static let proposalBytesMax = 1 << 20

  init(number: Int, shared: MemberContext, calls: RPCServerLoop) {
    self.number = number
    eventLoop = calls.eventLoop
    self.shared = shared
    self.calls = calls
    reader = shared.store.makeReader()
    watchFeed = WatchFeed(eventLoop: eventLoop, statistics: shared.watchStatistics)
    proposals = ProposalBatch(epoch: shared.epoch)
    limits = shared.settings.limits
    timeouts = ProposalTimeouts(timeoutNanoseconds: shared.settings.proposalTimeoutNanoseconds)
  }

  /// Makes the loop's watches. On the event loop, before the first request.
  func makeWatches() -> EventWatchService {
    let service = EventWatchService(loop: self)
    watches = service
    service.start()
    return service
  }

  /// Begins to look for proposals that nobody answers. On the event loop, once.
  func start() {
    let (callers, status) = (callers, shared.status)
    let leadership = LeadershipGuard(calls, status)
    calls.gate = { method, call in
      if let refusal = leadership.refusal(method: method, call) { return refusal }
      return callers.refusal(method: method, call)
    }
    let interval = TimeAmount.nanoseconds(
      Int64(clamping: shared.settings.electionTimeoutNanoseconds)
    )
    eventLoop.scheduleRepeatedTask(initialDelay: interval, delay: interval) { _ in
      leadership.look()
    }
    eventLoop.scheduleRepeatedTask(
      initialDelay: Self.timeoutCheckInterval,
      delay: Self.timeoutCheckInterval
    ) { _ in self.endOverdueCalls() }
  }

  private func endOverdueCalls() {
    for (id, begin) in timeouts.takeOverdue(now: MonotonicTime.now) {
      streamAnswers[CallID(rawValue: id)] = nil
      guard let call = calls.call(CallID(rawValue: id)) else { continue }
      call.finish(RPCStatus(shared.timeoutReason(since: begin)))
    }
    let oldest = MonotonicTime.now.nanoseconds
    let timeout = shared.settings.proposalTimeoutNanoseconds
    for read in reads.takeOverdue(before: oldest > timeout ? oldest - timeout : 0) {
      calls.call(read.call)?.finish(RPCStatus(.timeout))
    }
  }

  /// The header of an answer made now.
  var header: ResponseHeader { shared.header }

  // MARK: Writes

  /// Whether the store has room for a write; ends the call when it has not.
  @inline(__always)
  func hasRoom(for cost: Int, _ call: ServerCall) -> Bool {
    if shared.quota.hasRoom(for: cost) { return true }
    shared.quota.raiseAlarm(shared)
    call.finish(RPCStatus(.noSpace))
    return false
  }

  /// Puts a checked request on its way into the log. Everything proposed in one tick of the event
  /// loop is handed over together, with one wake-up of the replica.
  func propose(
    _ operation: ReplicatedOperation,
    _ request: UnsafeRawBufferPointer,
    _ call: ServerCall
  ) {
    guard hasRoomForProposals else { return call.finish(RPCStatus(.tooManyRequests)) }
    let proposer: Proposer?
    do throws(RequestError) {
      proposer = try callers.caller(of: call).map { Proposer($0) }
    } catch {
      return call.finish(RPCStatus(error))
    }
    append(operation, request, call, proposer)
  }

  /// As above, in the name of somebody who is not known by the call.
  func propose(
    _ operation: ReplicatedOperation,
    _ request: UnsafeRawBufferPointer,
    _ call: ServerCall,
    as proposer: Proposer
  ) {
    guard hasRoomForProposals else { return call.finish(RPCStatus(.tooManyRequests)) }
    append(operation, request, call, proposer)
  }

  @inline(__always)
  private var hasRoomForProposals: Bool {
    shared.gate.isOpen && timeouts.unanswered + proposals.count < limits.proposalsUnansweredMax
      && (timeouts.byteCount < limits.proposalsUnansweredBytesMax || shared.status.readsAreLocal)
  }

  @inline(__always)
  private func append(
    _ operation: ReplicatedOperation,
    _ request: UnsafeRawBufferPointer,
    _ call: ServerCall,
    _ proposer: Proposer?
  ) {
    let handle = RequestHandle(loop: number, call: call.id.rawValue)
    proposals.append(operation, handle: handle, request: request, proposer: proposer)
    if proposals.byteCount >= Self.proposalBytesMax {
      handOver()
    } else if !isHandOverScheduled {
      isHandOverScheduled = true
      eventLoop.execute { self.handOver() }
    }
  }

  /// Puts a checked change of the membership on its way into the log.
  func propose(_ change: MembershipChange, _ call: ServerCall) {
    guard shared.gate.isOpen, timeouts.unanswered + proposals.count < limits.proposalsUnansweredMax
    else {
      return call.finish(RPCStatus(.tooManyRequests))
    }
    var batch = ProposalBatch(epoch: shared.epoch, capacity: 256)
    batch.append(change, handle: RequestHandle(loop: number, call: call.id.rawValue))
    let block = batch.take()
    _ = timeouts.noteProposed(block, count: 1, now: MonotonicTime.now)
    shared.replica.post(.membership(block))
  }

  private func handOver() {
    isHandOverScheduled = false
    guard !proposals.isEmpty else { return }
    let count = proposals.count
    let block = proposals.take()
    let sequence = timeouts.noteProposed(block, count: count, now: MonotonicTime.now)
    post(block, sequence)
  }

  private func post(_ block: ByteBlock, _ sequence: UInt64) {
    shared.gate.entered(block.count)
    // A replica that has stopped takes nothing; the drain ends the calls.
    shared.replica.post(.proposals(block, ProposalBlockName(loop: number, sequence: sequence)))
  }

  /// Of the proposals up to a block, those without an answer are not done and never will be: they
  /// are proposed again, to a new leader, as long as their time is not over.
  func proposalsNotDone(through sequence: UInt64) {
    for batch in timeouts.takeNotDone(through: sequence) {
      var repeated: [SharedBytes] = []
      for request in ProposalBatch.requests(in: batch.block) {
        let (id, mayRepeat) = ProposalBatch.call(of: request)
        guard let call = calls.call(CallID(rawValue: id)) else { continue }
        if mayRepeat && streamAnswers[call.id] == nil {
          repeated.append(request)
        } else {
          // Which of a stream's proposals this is cannot be told; the client begins anew.
          streamAnswers[call.id] = nil
          call.finish(RPCStatus(.timeoutLeaderFailure))
        }
      }
      guard !repeated.isEmpty else { continue }
      let block = ProposalBatch.block(of: repeated)
      post(block, timeouts.noteRepeated(batch, as: block))
    }
    calls.flush()
  }

  /// Whether the proposals up to a block are done cannot be known here.
  func proposalsUnknown(through sequence: UInt64) {
    timeouts.loseTrack(through: sequence)
  }

  /// Sends the answers of a block that the replica's thread filled.
  func deliver(_ answers: ByteBlock) {
    var count = 0
    calls.beginBatch()
    ReplyQueue.forEachAnswer(in: answers) { id, answer in
      count += 1
      guard let call = calls.call(CallID(rawValue: id)) else { return }
      if !streamAnswers.isEmpty, let stream = streamAnswers[call.id] {
        if !stream.take(answer, call) { streamAnswers[call.id] = nil }
        return
      }
      switch answer {
      case .message(let bytes): call.respond { $0.append(bytes) }
      case .failure(let error): call.finish(RPCStatus(error))
      }
    }
    if shared.status.readsAreLocal {
      timeouts.noteAnswered(count, isOpen: nil)
    } else {
      timeouts.noteAnswered(count) { self.calls.call(CallID(rawValue: $0)) != nil }
    }
    calls.flush()
  }

  // MARK: Reads

  /// Asks whether a call's user may do what `permits` looks at; always when authentication is off,
  /// and never once this member's data was found to differ from the others'.
  /// Returns the stamp of the state that said so, for the check after the read; nil, and the call is
  /// ended, when the answer is no.
  @inline(__always)
  func admit(_ call: ServerCall, _ permits: (UserAccess) -> Bool) -> PublishedAuth.Stamp? {
    if shared.status.isCorrupt { return refuseAsCorrupt(call) }
    let stamp = shared.auth.stamp
    return stamp.isEnabled ? admitChecked(call, permits) : stamp
  }

  private func refuseAsCorrupt(_ call: ServerCall) -> PublishedAuth.Stamp? {
    call.finish(RPCStatus(.corrupt))
    return nil
  }

  private func admitChecked(
    _ call: ServerCall,
    _ permits: (UserAccess) -> Bool
  ) -> PublishedAuth.Stamp? {
    do throws(RequestError) {
      let (access, stamp) = try callers.access(of: call)
      if let access, !permits(access) { throw .permissionDenied }
      return stamp
    } catch {
      call.finish(RPCStatus(error))
      return nil
    }
  }

  /// The keys on leases as they are now, for `UserAccess`.
  var leaseKeys: UserAccess.LeaseKeys {
    { [leases = shared.leases] lease, body in leases.forEachKey(of: lease, body) }
  }

  /// Why a call's user may not read a range of keys now; nil when it may. `rangeEnd` as requests
  /// have it: empty for `key` alone, `\0` for every key from it on.
  func readRefusal(
    _ call: ServerCall,
    _ key: UnsafeRawBufferPointer,
    _ rangeEnd: UnsafeRawBufferPointer
  ) -> RequestError? {
    guard shared.auth.stamp.isEnabled else { return nil }
    do throws(RequestError) {
      guard let access = try callers.access(of: call).access else { return nil }
      return access.permitsReading(key, rangeEnd) ? nil : .permissionDenied
    } catch {
      return error
    }
  }

  /// Answers a read once it is linearizable, after a round of the replica. Reads of one tick
  /// share a round.
  func whenLinearizable(
    _ request: ReadRequest,
    _ call: ServerCall,
    since stamp: PublishedAuth.Stamp? = nil
  ) {
    guard reads.count < limits.readsWaitingMax, reads.byteCount < limits.readsWaitingBytesMax else {
      return call.finish(RPCStatus(.tooManyRequests))
    }
    guard reads.append(request, call.id, stamp, now: MonotonicTime.now) else { return }
    eventLoop.execute {
      let context = self.reads.closeRound(loop: self.number)
      if !self.shared.replica.post(.read(context: context)) { self.readLost(context) }
    }
  }

  /// The replica says that the reads of a round may be served.
  func readReady(_ context: UInt64) {
    for read in reads.takeRound(context) {
      guard let call = calls.call(read.call) else { continue }
      if case .onLoop(let body) = read.request {
        body(call)
      } else {
        answerFromPool(read.request, call, since: read.stamp)
      }
    }
  }

  /// The round was lost with the leader.
  func readLost(_ context: UInt64) {
    shared.metrics.readIndexesFailed.increment()
    for read in reads.takeRound(context) {
      calls.call(read.call)?.finish(RPCStatus(.noLeader))
    }
  }

  /// Whether a range is a matter for the reader pool.
  func isLong(_ range: Etcdserverpb.RangeRequest.View) -> Bool {
    !range.rangeEnd.isEmpty
      && shared.store.estimateCount(range) > KeyValueService.keysOnLoopMax
  }

  /// Answers a call, here and now, with what `encode` writes or with the error that it throws. With
  /// a stamp, users and roles must still be those that admitted the call.
  func answer(
    _ call: ServerCall,
    since stamp: PublishedAuth.Stamp? = nil,
    _ encode: (inout ByteWriter) throws(StoreError) -> Void
  ) {
    guard shared.responses.isOpen else { return call.finish(RPCStatus(.tooManyRequests)) }
    scratch.removeAll()
    do throws(StoreError) {
      try encode(&scratch)
    } catch {
      return call.finish(RPCStatus(RequestError(error)))
    }
    if let stamp, stamp != shared.auth.stamp {
      return call.finish(RPCStatus(.oldAuthRevision))
    }
    if scratch.count > Self.copiedAnswerBytesMax {
      let hold = shared.responses.hold(scratch.count)
      let block = scratch.takeBlock(nextCapacity: Self.scratchCapacity, owner: hold)
      call.respond(message: SharedBytes(block))
    } else {
      call.respond { $0.append(scratch.bytes) }
    }
  }

  /// Has a thread of the pool make the answer to a call.
  func answerFromPool(
    _ request: ReadRequest,
    _ call: ServerCall,
    since stamp: PublishedAuth.Stamp? = nil
  ) {
    guard shared.readers.hasRoom, shared.responses.isOpen else {
      return call.finish(RPCStatus(.tooManyRequests))
    }
    let id = call.id
    if case .range(let bytes) = request {
      let range = RangeAnswer(bytes, shared)
      return PumpedStream.start(self, id, .parts, since: stamp) {
        range.next(reader: $0, into: &$1, $2)
      }
    }
    let shared = shared
    let isDropped = dropFlag(of: id)
    let submitted = shared.readers.submit { reader, arena in
      if isDropped.isSet { return }
      guard shared.responses.isOpen else {
        return self.withPooledRead(id) { $0.finish(RPCStatus(.tooManyRequests)) }
      }
      var reply = ByteWriter(capacity: Self.scratchCapacity)
      do throws(StoreError) {
        try request.answer(from: shared, reader: reader, arena: arena, into: &reply)
      } catch {
        let status = RPCStatus(RequestError(error))
        return self.withPooledRead(id) { $0.finish(status) }
      }
      if let stamp, stamp != shared.auth.stamp {
        return self.withPooledRead(id) { $0.finish(RPCStatus(.oldAuthRevision)) }
      }
      let hold = shared.responses.hold(reply.count)
      let message = SharedBytes(reply.takeBlock(nextCapacity: 0, owner: hold))
      self.withPooledRead(id) { $0.respond(message: message) }
    }
    if !submitted {
      pooledReads[id] = nil
      call.finish(RPCStatus(.serverStopped))
    }
  }

  /// The flag that is set when the call of a pooled read is taken back.
  func dropFlag(of id: CallID) -> DropFlag {
    let flag = DropFlag()
    pooledReads[id] = flag
    return flag
  }

  /// The pool has nothing more to do for the call.
  func forgetDropFlag(of id: CallID) {
    pooledReads[id] = nil
  }

  private func withPooledRead(_ id: CallID, _ body: @escaping @Sendable (ServerCall) -> Void) {
    eventLoop.execute {
      self.pooledReads[id] = nil
      if let call = self.calls.call(id) { body(call) }
    }
  }

  /// Nobody waits for the call any more: a read that the pool has not begun is not made.
  func callCancelled(_ id: CallID) {
    pooledReads.removeValue(forKey: id)?.set()
  }

  // MARK: From other threads

  /// Runs `body` on the event loop if the call still waits.
  func withCall(_ id: CallID, _ body: @escaping @Sendable (ServerCall) -> Void) {
    eventLoop.execute {
      if let call = self.calls.call(id) { body(call) }
    }
  }

  /// Ends a call from another thread.
  func finish(_ id: CallID, _ status: RPCStatus) {
    withCall(id) { $0.finish(status) }
  }
}

extension Proposer {
  init(_ caller: Caller) {
    self.init(
      username: String(decoding: caller.name, as: UTF8.self),
      authRevision: caller.revision
    )
  }
}
