import Base
import NIOCore
import Proto
import RPC
import Replica
import Synchronization

/// The calls of a member that are answered by tasks, because they may wait for long: locks and
/// elections. Thread-safe.
final class WaitingCalls: Sendable {
  /// How many calls may wait at a time, on all event loops together; more are refused.
  static let tasksMax = 16_384
  private struct Key: Hashable {
    var loop: Int
    var call: CallID
  }

  private struct State {
    var tasks: [Key: Task<Void, Never>] = [:]
    var isStopped = false
  }

  private let state = Mutex(State())

  /// How many calls wait now.
  var count: Int { state.withLock { $0.tasks.count } }

  /// Runs `body` to answer the call. What it throws ends the call, unless that is over.
  func start(
    _ call: ServerCall,
    on loop: RequestLoop,
    _ body: @escaping @Sendable (CallReply) async throws -> Void
  ) {
    let key = Key(loop: loop.number, call: call.id)
    let reply = CallReply(loop: loop, id: call.id)
    let refusal: RequestError? = state.withLock { state in
      if state.isStopped { return .serverStopped }
      guard state.tasks.count < Self.tasksMax else { return .tooManyRequests }
      state.tasks[key] = Task {
        do {
          try await body(reply)
        } catch {
          reply.finish(self.status(error))
        }
        self.state.withLock { _ = $0.tasks.removeValue(forKey: key) }
      }
      return nil
    }
    if let refusal { call.finish(RPCStatus(refusal)) }
  }

  /// The call is over: its task need not go on.
  func cancel(_ call: ServerCall, on loop: RequestLoop) {
    let key = Key(loop: loop.number, call: call.id)
    state.withLock { $0.tasks[key] }?.cancel()
  }

  /// Takes no more calls, cancels those that wait, and suspends until they have left no trace. The
  /// timeouts of what they do meanwhile bound it.
  func stop() async {
    let tasks = state.withLock { state in
      state.isStopped = true
      return Array(state.tasks.values)
    }
    for task in tasks { task.cancel() }
    for task in tasks { await task.value }
  }

  /// Errors of the calls that a recipe makes reach its client without their codes, as etcd's
  /// services of this kind pass them on; only what tells the client to try again keeps its own.
  private func status(_ error: any Error) -> RPCStatus {
    if state.withLock({ $0.isStopped }) { return RPCStatus(.serverStopped) }
    switch error {
    case let error as RPCError:
      switch error.code {
      case .unavailable, .deadlineExceeded, .canceled, .resourceExhausted: return error.status
      default: return RPCStatus(.unknown, error.status.message)
      }
    case let error as RecipeError: return RPCStatus(.unknown, error.text)
    case is CancellationError: return .canceled
    default: return RPCStatus(.unknown, "\(error)")
    }
  }
}

/// The way back to a waiting call's client. Thread-safe.
struct CallReply: Sendable {
  let loop: RequestLoop
  let id: CallID

  /// Answers, and says whether the call was still there to be answered.
  func respond(_ message: some Message) async -> Bool {
    let bytes = SharedBytes(message.encoded())
    return await onLoop { $0.respond(message: bytes) }
  }

  /// Sends a message of a stream, and waits while the client is slow. Throws `CancellationError`
  /// when the call is over.
  func send(_ message: some Message) async throws {
    let bytes = SharedBytes(message.encoded())
    let taken = OneShot()
    let isThere = await onLoop { call in
      call.send(message: bytes)
      call.whenWritable { _ in taken.fire() }
    }
    guard isThere else { throw CancellationError() }
    await withTaskCancellationHandler {
      await taken.wait()
    } onCancel: {
      taken.fire()
    }
    try Task.checkCancellation()
  }

  func finish(_ status: RPCStatus) {
    loop.finish(id, status)
  }

  private func onLoop(_ body: @escaping @Sendable (ServerCall) -> Void) async -> Bool {
    let answered = loop.eventLoop.submit {
      guard let call = loop.calls.call(id) else { return false }
      body(call)
      loop.calls.flush()
      return true
    }
    // Fails only when the event loop is gone, and the call with it.
    return (try? await answered.get()) ?? false
  }
}

/// Something that happens once, and somebody who waits for it. Thread-safe.
final class OneShot: Sendable {
  private struct State {
    var hasFired = false
    var waiter: CheckedContinuation<Void, Never>?
  }

  private let state = Mutex(State())

  /// Ends the wait. Without effect when called again.
  func fire() {
    let waiter = state.withLock { state in
      state.hasFired = true
      defer { state.waiter = nil }
      return state.waiter
    }
    waiter?.resume()
  }

  /// Suspends until `fire` is called. To be called once.
  func wait() async {
    await withCheckedContinuation { continuation in
      let hasFired = state.withLock { state in
        if !state.hasFired { state.waiter = continuation }
        return state.hasFired
      }
      if hasFired { continuation.resume() }
    }
  }
}
