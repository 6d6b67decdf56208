import Logging
import Proto
import RPC

/// A watch over all its connections.
actor WatchSession {
  private let scope: CallScope
  private let range: KeyRange
  private let options: WatchOptions
  private var position: WatchPosition
  private var line: WatchLine?
  /// Says nothing more, and why.
  private var ending: ClientError?
  private var isReading = false
  private var pace: Pace
  /// Whether the present line has brought anything since it was made.
  private var isLineProven = false

  init(_ scope: CallScope, _ range: KeyRange, _ options: WatchOptions) {
    self.scope = scope
    self.range = range
    self.options = options
    position = WatchPosition(startRevision: options.startRevision)
    pace = Pace(scope.caller.configuration)
  }

  /// Creates the watch at a member; returns the store's revision then.
  func start() async throws(ClientError) -> Int64 {
    try await open()
  }

  /// Ends the watch.
  func cancel() {
    if ending == nil { ending = .canceled() }
    line?.cancel()
    line = nil
  }

  /// The next batch. One caller at a time. Throws what the watch ended with, again and again.
  func next() async throws(ClientError) -> WatchBatch {
    precondition(!isReading, "a watch is read by two tasks at once")
    isReading = true
    defer { isReading = false }
    while true {
      if let ending { throw ending }
      guard let line else {
        try await resume()
        continue
      }
      do throws(ClientError) {
        guard let response = try await line.next(scope.caller) else {
          throw ClientError(.unavailable, "the watch's stream ended", outcome: .notDone)
        }
        if let batch = try take(response, from: line) { return batch }
      } catch {
        try await lineFailed(error)
      }
    }
  }

  private func take(
    _ response: Etcdserverpb.WatchResponse,
    from line: WatchLine
  ) throws(ClientError) -> WatchBatch? {
    isLineProven = true
    pace = Pace(scope.caller.configuration)
    if response.canceled {
      throw ClientError(
        reason: response.cancelReason,
        endpoint: line.endpointName,
        compactRevision: response.compactRevision > 0 ? response.compactRevision : nil
      )
    }
    guard let (events, revision) = position.take(response) else { return nil }
    if events.isEmpty, !options.reportsProgress { return nil }
    return WatchBatch(
      events: events.compactMap { WatchEvent($0, scope) },
      revision: revision
    )
  }

  private func lineFailed(_ failure: ClientError) async throws(ClientError) {
    line?.cancel()
    line = nil
    if let ending { throw ending }
    // The position is known: whoever asks again goes on from there.
    if Task.isCancelled { throw .canceled() }
    guard scope.caller.mayRepeat(failure, .read) || Self.isTokenProblem(failure) else {
      ending = failure
      throw failure
    }
    scope.caller.configuration.logger.debug(
      "a watch moves",
      metadata: ["reason": "\(failure)", "revision": "\(position.nextRevision)"]
    )
    if !isLineProven { try await pause() }
  }

  private static func isTokenProblem(_ failure: ClientError) -> Bool {
    failure.code == .invalidAuthToken || failure.code == .authRevisionIsOld
  }

  private func pause() async throws(ClientError) {
    do {
      try await Task.sleep(for: pace.nextPause())
    } catch {
      throw .canceled()
    }
  }

  private func resume() async throws(ClientError) {
    do throws(ClientError) {
      _ = try await open()
    } catch {
      isLineProven = false
      try await lineFailed(error)
    }
  }

  private func open() async throws(ClientError) -> Int64 {
    let request = options.request(range, scope, from: position.nextRevision)
    let (line, created) = try await WatchLine.open(scope, request)
    if let ending {
      line.cancel()
      throw ending
    }
    isLineProven = false
    self.line = line
    let revision = created.header?.revision ?? 0
    position.created(at: revision)
    if created.canceled { _ = try take(created, from: line) }
    return revision
  }
}

/// One stream of one watch.
final class WatchLine: Sendable {
  typealias Call = StreamingCall<Etcdserverpb.WatchRequest, Etcdserverpb.WatchResponse>

  private let call: Call
  private let use: EndpointUse

  private init(_ call: Call, _ use: EndpointUse) {
    self.call = call
    self.use = use
  }

  var endpointName: String { use.endpoint.name }

  /// Opens a stream and creates the watch; returns the server's answer to that.
  static func open(
    _ scope: CallScope,
    _ request: Etcdserverpb.WatchRequest
  ) async throws(ClientError) -> (WatchLine, Etcdserverpb.WatchResponse) {
    var isTokenDoubted = scope.caller.configuration.credentials != nil
    return try await scope.call(.read) { attempt async throws(RPCError) in
      let use = EndpointUse(attempt.endpoint)
      var options = attempt.streamOptions
      // A member that has lost the others would keep silent for ever.
      options.metadata.append((name: "hasleader", value: "true"))
      let call = try await WatchClient(attempt.client).watch(options: options)
      let created = try await attempt.withTimeout(cancelling: { call.cancel() }) {
        () async throws(RPCError) in
        await call.send(request)
        return try await Self.creation(call)
      }
      if created.canceled, created.compactRevision == 0 {
        let error = ClientError(reason: created.cancelReason, endpoint: nil)
        // Older servers say this also of a token that has run out.
        if error.code == .permissionDenied, isTokenDoubted {
          isTokenDoubted = false
          throw RPCError(
            RPCStatus(.unauthenticated, "etcdserver: invalid auth token"),
            mayHaveBeenProcessed: false
          )
        }
        throw RPCError(
          RPCStatus(.permissionDenied, created.cancelReason),
          mayHaveBeenProcessed: false
        )
      }
      return (WatchLine(call, use), created)
    }
  }

  private static func creation(
    _ call: Call
  ) async throws(RPCError) -> Etcdserverpb.WatchResponse {
    var iterator = call.responses.makeAsyncIterator()
    while let response = try await iterator.next(isolation: nil) {
      if response.created { return response }
    }
    throw RPCError(.unavailable("the watch's stream ended"), mayHaveBeenProcessed: false)
  }

  func next(_ caller: Caller) async throws(ClientError) -> Etcdserverpb.WatchResponse? {
    var iterator = call.responses.makeAsyncIterator()
    do throws(RPCError) {
      return try await iterator.next(isolation: nil)
    } catch {
      throw caller.streamFailure(error, use.endpoint)
    }
  }

  func cancel() {
    call.cancel()
  }
}
