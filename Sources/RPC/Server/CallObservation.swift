/// What a loop does beside counting when calls end. The default is nothing, which costs each call one
/// comparison.
package struct CallObservation {
  /// A unary call that takes this long, in nanoseconds, or longer is told to `onSlowCall`.
  package var slowCallNanoseconds = UInt64(Int64.max)
  /// Called on the event loop.
  package var onSlowCall: ((EndedCall) -> Void)?
  /// Whether the time of every call is kept by method. Reads the clock once more for each call.
  package var measuresLatency = false
  /// Told of every call's begin and end.
  package var tracer: (any CallTracer)?

  package init() {}

  /// Calls that took at least this long, in nanoseconds, are looked at.
  var watchedAfter: Int64 {
    measuresLatency || tracer != nil ? .min : Int64(clamping: slowCallNanoseconds)
  }
}

/// A call that is over.
package struct EndedCall: Sendable {
  package let method: MethodInfo
  package let code: RPCCode
  /// The client's address; empty when unknown.
  package let peer: String
  /// From the first header field to the end.
  package let nanoseconds: UInt64
  /// The length of the last request message, decompressed.
  package let requestBytes: Int
  /// The length of all response messages, with their prefixes.
  package let responseBytes: Int
}

/// Makes spans of calls. Confined to the event loop.
package protocol CallTracer: AnyObject {
  /// A call of a known method has begun; its metadata is there. What is returned is kept for
  /// `callEnded`.
  func callStarted(_ call: ServerCall, _ method: MethodInfo) -> AnyObject
  /// The call is over, however it ended. Called once for each `callStarted`.
  func callEnded(_ span: AnyObject, _ code: RPCCode)
}

/// How long the calls of one method took.
package struct CallLatency: Sendable {
  /// Upper bounds of the buckets in seconds: what gRPC's servers usually show.
  package static let bounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
  /// The same in nanoseconds.
  static let boundsNanoseconds = bounds.map { UInt64(($0 * 1e9).rounded()) }

  /// Calls in each bucket alone; the last is for those above all bounds.
  package var counts = [UInt64](repeating: 0, count: bounds.count + 1)
  package var nanoseconds: UInt64 = 0

  func adding(_ other: CallLatency) -> CallLatency {
    var sum = self
    for place in sum.counts.indices { sum.counts[place] += other.counts[place] }
    sum.nanoseconds += other.nanoseconds
    return sum
  }
}

extension RPCServerLoop {
  /// Says what is to be done when calls end. On the event loop, before there are any.
  package func observe(_ new: CallObservation) {
    observation = new
    watchedAfter = new.watchedAfter
    if new.measuresLatency { growLatencies() }
  }

  /// Makes room for methods that are new; what was measured stays.
  func growLatencies() {
    while latencies.count < methods.count { latencies.append(CallLatency()) }
  }

  /// From now until `flush`, one look at the clock is enough for the calls that end: for a batch of
  /// answers that another thread handed over.
  package func beginBatch() {
    batchTime = clock()
  }

  /// Counts a call that is over, and looks closer at one that took long. The slot may be closed
  /// already.
  @inline(__always)
  func noteEnded(
    _ slot: CallSlot,
    _ connection: ServerConnection?,
    _ code: RPCCode,
    responseBytes: Int
  ) {
    tally.countEnded(slot.method, code)
    let now = turnTime != 0 ? turnTime : batchTime != 0 ? batchTime : clock()
    if Int64(bitPattern: now &- slot.startTime) >= watchedAfter {
      noteWatched(slot, connection, code, now: now, responseBytes: responseBytes)
    }
  }

  @inline(never)
  private func noteWatched(
    _ slot: CallSlot,
    _ connection: ServerConnection?,
    _ code: RPCCode,
    now: UInt64,
    responseBytes: Int
  ) {
    let method = methods[slot.method].info
    let end = observation.measuresLatency ? clock() : now
    let nanoseconds = end > slot.startTime ? end - slot.startTime : 0
    if observation.measuresLatency {
      let place =
        CallLatency.boundsNanoseconds.firstIndex { nanoseconds <= $0 } ?? CallLatency.bounds.count
      latencies[slot.method].counts[place] &+= 1
      latencies[slot.method].nanoseconds &+= nanoseconds
    }
    if nanoseconds >= observation.slowCallNanoseconds, let onSlowCall = observation.onSlowCall,
      !method.requestStreaming, !method.responseStreaming
    {
      onSlowCall(
        EndedCall(
          method: method,
          code: code,
          peer: connection?.peer ?? "",
          nanoseconds: nanoseconds,
          requestBytes: slot.requestBytes,
          responseBytes: responseBytes
        )
      )
    }
    if let span = slot.span {
      slot.span = nil
      observation.tracer?.callEnded(span, code)
    }
  }
}
