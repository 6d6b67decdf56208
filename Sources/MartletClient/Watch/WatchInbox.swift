import Proto
import RPC
import Synchronization

/// What a shared stream has brought for one watch.
final class WatchInbox: Sendable {
  /// What waits for a reader, in bytes about; one response more is taken in any case.
  static let bytesMax = 128 << 10

  private enum End {
    case over(RPCError?)
    case tooSlow
  }

  private struct State {
    var responses: [Etcdserverpb.WatchResponse] = []
    /// The first of `responses` that has not been taken.
    var start = 0
    var bytes = 0
    var end: End?
    var reader: CheckedContinuation<Result<WatchLineEvent, RPCError>, Never>?
    var watchID: Int64?
  }

  private let state = Mutex(State())

  /// The member's number of the watch, once it has one.
  var watchID: Int64? {
    get { state.withLock { $0.watchID } }
    set { state.withLock { $0.watchID = newValue } }
  }

  // MARK: For the stream

  /// Takes a response in. False when this was too much for a reader who is slow.
  func give(_ response: Etcdserverpb.WatchResponse) -> Bool {
    let (reader, isTaken) = state.withLock { state in
      if let reader = state.reader {
        state.reader = nil
        return (Optional(reader), true)
      }
      guard state.end == nil else { return (nil, true) }
      state.responses.append(response)
      state.bytes += response.bytesAbout
      guard state.bytes > Self.bytesMax else { return (nil, true) }
      state.end = .tooSlow
      return (nil, false)
    }
    reader?.resume(returning: .success(.response(response)))
    return isTaken
  }

  /// Nothing more comes; nil: the stream ended well.
  func end(_ error: RPCError?) {
    let reader = state.withLock { state in
      if state.end == nil { state.end = .over(error) }
      defer { state.reader = nil }
      return state.reader
    }
    reader?.resume(returning: error.map { .failure($0) } ?? .success(.over))
  }

  // MARK: For the reader

  func next() async throws(RPCError) -> WatchLineEvent {
    let result = await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let result = state.withLock { state -> Result<WatchLineEvent, RPCError>? in
          if let event = Self.take(&state) { return event }
          if Task.isCancelled { return .failure(Self.cancellation) }
          precondition(state.reader == nil, "two readers of one watch")
          state.reader = continuation
          return nil
        }
        if let result { continuation.resume(returning: result) }
      }
    } onCancel: {
      let reader = state.withLock { state in
        defer { state.reader = nil }
        return state.reader
      }
      reader?.resume(returning: .failure(Self.cancellation))
    }
    return try result.get()
  }

  private static let cancellation = RPCError(.canceled, mayHaveBeenProcessed: false)

  private static func take(_ state: inout State) -> Result<WatchLineEvent, RPCError>? {
    if state.start < state.responses.count {
      let response = state.responses[state.start]
      state.responses[state.start] = Etcdserverpb.WatchResponse()
      state.start += 1
      state.bytes -= response.bytesAbout
      if state.start == state.responses.count {
        state.responses.removeAll(keepingCapacity: state.start <= Self.responsesKept)
        state.start = 0
      }
      return .success(.response(response))
    }
    return switch state.end {
    case nil: nil
    case .tooSlow: .success(.tooSlow)
    case .over(let error?): .failure(error)
    case .over(nil): .success(.over)
    }
  }

  /// For how many responses an empty inbox keeps room.
  private static let responsesKept = 16
}

extension Etcdserverpb.WatchResponse {
  /// What it weighs in memory.
  fileprivate var bytesAbout: Int {
    events.reduce(into: 128) { sum, event in
      for pair in [event.kv, event.prevKV] {
        if let pair { sum += 128 + pair.key.count + pair.value.count }
      }
    }
  }
}
