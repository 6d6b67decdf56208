import Logging
import Proto
import RPC

/// A watch over all its connections.
actor WatchSession {
  private let scope: CallScope
  private let range: KeyRange
  private let options: WatchOptions
  private var position: WatchPosition
  private var line: (any WatchLine)?
  /// Says nothing more, and why.
  private var ending: ClientError?
  private var isReading = false
  private var pace: Pace
  /// Whether the present line has brought anything since it was made.
  private var isLineProven = false
  /// Whether the reader waits for a report of progress.
  private var isProgressRequested = false
  /// Its reader was too slow for a stream that others share: it has one of its own from then on.
  private var isAlone = false

  /// The number of a response that is about all watches of its stream.
  static let everyWatch: Int64 = -1

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

  func requestProgress() {
    isProgressRequested = true
    line?.requestProgress()
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
        switch try await next(of: line) {
        case .response(let response):
          if let batch = try take(response, from: line) { return batch }
        case .tooSlow:
          isAlone = true
          self.line = nil
        case .over:
          throw ClientError(.unavailable, "the watch's stream ended", outcome: .notDone)
        }
      } catch {
        try await lineFailed(error)
      }
    }
  }

  private func next(of line: any WatchLine) async throws(ClientError) -> WatchLineEvent {
    do throws(RPCError) {
      return try await line.next()
    } catch {
      throw scope.caller.streamFailure(error, line.endpoint)
    }
  }

  private func take(
    _ response: Etcdserverpb.WatchResponse,
    from line: any WatchLine
  ) throws(ClientError) -> WatchBatch? {
    isLineProven = true
    pace = Pace(scope.caller.configuration)
    if response.canceled {
      var error = ClientError(
        reason: response.cancelReason,
        endpoint: line.endpoint.name,
        compactRevision: response.compactRevision > 0 ? response.compactRevision : nil
      )
      error.header = ResponseHeader(response.header)
      throw error
    }
    if response.watchID == Self.everyWatch { return progress(response) }
    guard let (events, revision) = position.take(response) else { return nil }
    if events.isEmpty, !options.reportsProgress { return nil }
    return WatchBatch(
      events: events.compactMap { WatchEvent($0, scope) },
      revision: revision,
      header: ResponseHeader(response.header)
    )
  }

  /// What an answer to a request for progress tells; nil for one that nobody waits for.
  private func progress(_ response: Etcdserverpb.WatchResponse) -> WatchBatch? {
    let header = ResponseHeader(response.header)
    _ = position.told(upTo: header.revision)
    guard isProgressRequested else { return nil }
    isProgressRequested = false
    return WatchBatch(
      events: [],
      revision: max(header.revision, position.nextRevision - 1),
      header: header
    )
  }

  private func lineFailed(_ failure: ClientError) async throws(ClientError) {
    // Whoever asks again goes on where this reader was.
    if Task.isCancelled, ending == nil, line?.outlivesReaders == true { throw .canceled() }
    line?.cancel()
    line = nil
    if let ending { throw ending }
    if Task.isCancelled { throw .canceled() }
    guard scope.caller.mayRepeat(failure, .read) || Self.isTokenProblem(failure) else {
      ending = failure
      throw failure
    }
    scope.caller.telemetry.count(.watchMoves)
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
    let (line, created) = try await scope.openWatch(request, isAlone: isAlone)
    if let ending {
      line.cancel()
      throw ending
    }
    isLineProven = false
    self.line = line
    let revision = created.header?.revision ?? 0
    position.created(at: revision)
    if created.canceled { _ = try take(created, from: line) }
    if isProgressRequested { line.requestProgress() }
    return revision
  }
}
