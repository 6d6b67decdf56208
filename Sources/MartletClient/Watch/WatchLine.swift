import Proto
import RPC
import Synchronization

/// How one watch is told by one member.
protocol WatchLine: Sendable {
  var endpoint: Endpoint { get }
  /// A reader that is cancelled takes nothing from the one that comes after it.
  var outlivesReaders: Bool { get }

  /// Asks the member for the watch; its answer is the first response. Once.
  func create(_ request: Etcdserverpb.WatchRequest)
  /// One reader at a time.
  func next() async throws(RPCError) -> WatchLineEvent
  /// Asks the member how far it has told; its answer has the number `WatchSession.everyWatch`.
  func requestProgress()
  /// Ends the watch at the member.
  func cancel()
  /// The member may not know the caller's token any more: no new watch goes this way.
  func distrust()
}

enum WatchLineEvent {
  case response(Etcdserverpb.WatchResponse)
  /// More came than waits for a reader: the watch has ended at the member, and must go on elsewhere.
  case tooSlow
  /// The stream has ended.
  case over
}

/// A watch with a stream of its own: a slow reader holds the member back.
final class OwnWatchLine: WatchLine {
  private let call: StreamingCall<Etcdserverpb.WatchRequest, Etcdserverpb.WatchResponse>
  private let use: EndpointUse

  var endpoint: Endpoint { use.endpoint }
  var outlivesReaders: Bool { false }

  init(_ attempt: Caller.Attempt) async throws(RPCError) {
    use = EndpointUse(attempt.endpoint)
    call = try await WatchClient(attempt.client).watch(options: attempt.watchOptions)
  }

  func create(_ request: Etcdserverpb.WatchRequest) {
    call.post(request)
  }

  func next() async throws(RPCError) -> WatchLineEvent {
    var iterator = call.responses.makeAsyncIterator()
    return try await iterator.next(isolation: nil).map { .response($0) } ?? .over
  }

  func requestProgress() {
    call.post(.progress)
  }

  func cancel() {
    call.cancel()
  }

  func distrust() {}
}

/// A watch on a stream that it shares. Letting go of it ends the watch.
final class SharedWatchLine: WatchLine {
  private let stream: SharedWatchStream
  private let inbox = WatchInbox()
  private let hasLeft = Atomic<Bool>(false)

  var endpoint: Endpoint { stream.use.endpoint }
  var outlivesReaders: Bool { true }

  init(_ stream: SharedWatchStream) {
    self.stream = stream
  }

  deinit {
    cancel()
  }

  func create(_ request: Etcdserverpb.WatchRequest) {
    stream.create(request, for: inbox)
  }

  func next() async throws(RPCError) -> WatchLineEvent {
    try await inbox.next()
  }

  func requestProgress() {
    stream.requestProgress(for: inbox)
  }

  func cancel() {
    guard !hasLeft.exchange(true, ordering: .relaxed) else { return }
    stream.leave(inbox)
    inbox.end(RPCError(.canceled, mayHaveBeenProcessed: false))
  }

  func distrust() {
    stream.retire()
  }
}

extension Etcdserverpb.WatchRequest {
  /// Asks how far the stream has come.
  static var progress: Self {
    var request = Self()
    request.requestUnion = .progressRequest(Etcdserverpb.WatchProgressRequest())
    return request
  }
}

extension Caller.Attempt {
  /// For streams of watches: they may last, and a member that has lost the others would keep silent
  /// for ever.
  var watchOptions: CallOptions {
    var options = streamOptions
    options.metadata.append((name: "hasleader", value: "true"))
    return options
  }
}

extension CallScope {
  /// Creates a watch at a member; returns the member's answer to that.
  ///
  /// `isAlone`: The watch gets a stream of its own.
  func openWatch(
    _ request: Etcdserverpb.WatchRequest,
    isAlone: Bool
  ) async throws(ClientError) -> (any WatchLine, Etcdserverpb.WatchResponse) {
    var isTokenDoubted = caller.configuration.credentials != nil
    return try await call("Watch/Watch", .read) { attempt async throws(RPCError) in
      let line: any WatchLine =
        isAlone ? try await OwnWatchLine(attempt) : attempt.endpoint.joinWatchStream(attempt)
      let created = try await attempt.withTimeout(cancelling: { line.cancel() }) {
        () async throws(RPCError) in
        line.create(request)
        return try await Self.creation(line)
      }
      guard created.canceled, created.compactRevision == 0 else { return (line, created) }
      let refusal = ClientError(reason: created.cancelReason, endpoint: nil)
      // Older servers say this also of a token that has run out.
      if refusal.code == .permissionDenied, isTokenDoubted {
        isTokenDoubted = false
        line.distrust()
        throw RPCError(
          RPCStatus(.unauthenticated, "etcdserver: invalid auth token"),
          mayHaveBeenProcessed: false
        )
      }
      if refusal.code == .invalidAuthToken || refusal.code == .authRevisionIsOld {
        line.distrust()
      }
      throw RPCError(
        RPCStatus(.permissionDenied, created.cancelReason),
        mayHaveBeenProcessed: false
      )
    }
  }

  private static func creation(
    _ line: any WatchLine
  ) async throws(RPCError) -> Etcdserverpb.WatchResponse {
    while case .response(let response) = try await line.next() {
      if response.created { return response }
    }
    throw RPCError(.unavailable("the watch's stream ended"), mayHaveBeenProcessed: false)
  }
}
