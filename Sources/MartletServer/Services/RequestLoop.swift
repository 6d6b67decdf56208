import Base
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

  private var scratch = ByteWriter(capacity: RequestLoop.scratchCapacity)
  private var proposals: ProposalBatch
  private var isHandOverScheduled = false
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
  /// Proposals of this loop that may wait for their answers; more are refused at once.
  static let proposalsUnansweredMax = 32_768
  /// Reads of this loop that may wait for their moment, and what their requests may weigh together.
  static let readsWaitingMax = 32_768
  static let readsWaitingBytesMax = 64 << 20
  /// A batch is handed over early when it holds this much.
  private static let proposalBytesMax = 1 << 20

  init(number: Int, shared: MemberContext, calls: RPCServerLoop) {
    self.number = number
    eventLoop = calls.eventLoop
    self.shared = shared
    self.calls = calls
    reader = shared.store.makeReader()
    proposals = ProposalBatch(epoch: shared.epoch)
    timeouts = ProposalTimeouts(timeoutNanoseconds: shared.settings.proposalTimeoutNanoseconds)
  }

  /// Begins to look for proposals that nobody answers. On the event loop, once.
  func start() {
    eventLoop.scheduleRepeatedTask(
      initialDelay: Self.timeoutCheckInterval,
      delay: Self.timeoutCheckInterval
    ) { _ in self.endOverdueCalls() }
  }

  private func endOverdueCalls() {
    for id in timeouts.takeOverdue(now: MonotonicTime.now) {
      streamAnswers[CallID(rawValue: id)] = nil
      calls.call(CallID(rawValue: id))?.finish(RPCStatus(.timeout))
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
    guard shared.gate.isOpen, timeouts.unanswered < Self.proposalsUnansweredMax else {
      return call.finish(RPCStatus(.tooManyRequests))
    }
    let handle = RequestHandle(loop: number, call: call.id.rawValue)
    proposals.append(operation, handle: handle, request: request)
    if proposals.byteCount >= Self.proposalBytesMax {
      handOver()
    } else if !isHandOverScheduled {
      isHandOverScheduled = true
      eventLoop.execute { self.handOver() }
    }
  }

  private func handOver() {
    isHandOverScheduled = false
    guard !proposals.isEmpty else { return }
    let count = proposals.count
    let block = proposals.take()
    timeouts.noteProposed(block, count: count, now: MonotonicTime.now)
    shared.gate.entered(block.count)
    // A replica that has stopped takes nothing; the drain ends the calls.
    shared.replica.post(.proposals(block))
  }

  /// Sends the answers of a block that the replica's thread filled.
  func deliver(_ answers: ByteBlock) {
    var count = 0
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
    timeouts.noteAnswered(count)
    calls.flush()
  }

  // MARK: Reads

  /// Answers a read once it is linearizable, after a round of the replica. Reads of one tick
  /// share a round.
  func whenLinearizable(_ request: ReadRequest, _ call: ServerCall) {
    guard reads.count < Self.readsWaitingMax, reads.byteCount < Self.readsWaitingBytesMax else {
      return call.finish(RPCStatus(.tooManyRequests))
    }
    guard reads.append(request, call.id, now: MonotonicTime.now) else { return }
    eventLoop.execute {
      let context = self.reads.closeRound(loop: self.number)
      if !self.shared.replica.post(.read(context: context)) { self.readLost(context) }
    }
  }

  /// The replica says that the reads of a round may be served.
  func readReady(_ context: UInt64) {
    for read in reads.takeRound(context) {
      guard let call = calls.call(read.call) else { continue }
      answerFromPool(read.request, call)
    }
  }

  /// The round was lost with the leader.
  func readLost(_ context: UInt64) {
    for read in reads.takeRound(context) {
      calls.call(read.call)?.finish(RPCStatus(.noLeader))
    }
  }

  /// Whether a range is a matter for the reader pool.
  func isLong(_ range: Etcdserverpb.RangeRequest.View) -> Bool {
    !range.rangeEnd.isEmpty
      && shared.store.estimateCount(range) > KeyValueService.keysOnLoopMax
  }

  /// Answers a call, here and now, with what `encode` writes or with the error that it throws.
  func answer(
    _ call: ServerCall,
    _ encode: (inout ByteWriter) throws(StoreError) -> Void
  ) {
    guard shared.responses.isOpen else { return call.finish(RPCStatus(.tooManyRequests)) }
    scratch.removeAll()
    do throws(StoreError) {
      try encode(&scratch)
    } catch {
      return call.finish(RPCStatus(RequestError(error)))
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
  func answerFromPool(_ request: ReadRequest, _ call: ServerCall) {
    guard shared.readers.hasRoom else { return call.finish(RPCStatus(.tooManyRequests)) }
    let id = call.id
    if case .range(let bytes) = request {
      let range = RangeAnswer(bytes, shared)
      return PumpedStream.start(self, id, .parts) { range.next(reader: $0, into: &$1, $2) }
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
