import RPC

/// One connection to a server, and the calls on it. Confined to the event loop.
final class UpstreamLink: ClientCallDelegate, @unchecked Sendable {
  // Sendable so that a reference can travel to the loop; nothing is touched elsewhere.

  private weak var upstream: Upstream?
  var connection: ClientLoopConnection?
  private var calls: [Int: UpstreamCall] = [:]
  private var nextToken = 0
  /// Calls that the server's limit of streams holds back, in the order of their start.
  private var waiting: [UpstreamCall] = []
  private var isServing = false

  init(upstream: Upstream) {
    self.upstream = upstream
  }

  var isAvailable: Bool { connection?.isAvailable ?? false }

  func start(_ call: UpstreamCall) {
    waiting.append(call)
    if waiting.count == 1 { serveWaiting() }
  }

  /// Begins as many of the waiting calls as the server allows.
  private func serveWaiting() {
    guard !isServing else { return }
    isServing = true
    defer { isServing = false }
    let queue = waiting
    waiting = []
    var served = 0
    for call in queue {
      guard call.sink == nil || begin(call) else { break }
      served += 1
    }
    waiting = queue[served...] + waiting
    if !isAvailable { moveWaiting() }
  }

  private func begin(_ call: UpstreamCall) -> Bool {
    guard let connection, connection.isAvailable else { return false }
    nextToken += 1
    calls[nextToken] = call
    guard call.attach(connection, token: nextToken) else {
      calls[nextToken] = nil
      return false
    }
    return true
  }

  func callReceived(_ token: Int, _ message: UnsafeRawBufferPointer) {
    calls[token]?.received(message)
  }

  func callEnded(_ token: Int, _ end: CallEnd) {
    guard let call = calls.removeValue(forKey: token) else { return }
    if !end.mayHaveBeenProcessed, call.mayBeginAnew, let upstream,
      call.attempts < Upstream.attemptsMax
    {
      call.detach()
      upstream.start(call)
    } else {
      call.finish(end)
    }
  }

  func turnEnded() {
    if !waiting.isEmpty { serveWaiting() }
    // Calls that were taken back get no `callEnded`.
    if calls.count > 2 * (connection?.callCount ?? 0) + 64 {
      calls = calls.filter { $0.value.sink != nil }
    }
    upstream?.turnEnded()
  }

  func connectionDraining() {
    upstream?.retire(self)
    moveWaiting()
  }

  func connectionClosed() {
    connection = nil
    calls = [:]
    upstream?.retire(self)
    moveWaiting()
    upstream?.turnEnded()
  }

  /// The calls that have not begun go to the next connection.
  private func moveWaiting() {
    let calls = waiting
    waiting = []
    for call in calls where call.sink != nil { upstream?.start(call) }
  }
}
