import Proto
import RPC
import Synchronization

/// The token that stands for the client's user. However many calls need one, one asks for it.
final class TokenKeeper: Sendable {
  /// How long the exchange of password for token may take: the server's check is slow on purpose.
  static let timeout = Duration.seconds(10)

  fileprivate typealias Exchange = Task<Result<String?, RPCError>, Never>

  private enum State {
    case unknown
    case asking(Exchange)
    /// nil: the cluster wants none.
    case known(String?)
  }

  private let credentials: ClientConfiguration.Credentials
  private let state = Mutex(State.unknown)

  init(_ credentials: ClientConfiguration.Credentials) {
    self.credentials = credentials
  }

  /// The token, from the endpoint if there is none yet; nil when the cluster wants none. Others may
  /// wait for the same answer: it is asked for beyond `timeout` and the end of this task.
  func token(at endpoint: Endpoint, within timeout: Duration?) async throws(RPCError) -> String? {
    enum Way {
      case known(String?)
      case wait(Exchange)
    }
    let way = state.withLock { state -> Way in
      switch state {
      case .known(let token): return .known(token)
      case .asking(let exchange): return .wait(exchange)
      case .unknown:
        let exchange = Task { await ask(endpoint) }
        state = .asking(exchange)
        return .wait(exchange)
      }
    }
    switch way {
    case .known(let token): return token
    case .wait(let exchange): return try await FirstAnswer.of(exchange, within: timeout).get()
    }
  }

  /// The server did not take `token`: the next call asks for another.
  func forget(_ token: String?) {
    state.withLock { state in
      if case .known(let known) = state, known == token { state = .unknown }
    }
  }

  private func ask(_ endpoint: Endpoint) async -> Result<String?, RPCError> {
    let request = Etcdserverpb.AuthenticateRequest(
      name: credentials.username,
      password: credentials.password
    )
    let use = EndpointUse(endpoint)
    let result: Result<String?, RPCError>
    do throws(RPCError) {
      let options = CallOptions(timeout: Self.timeout.timeAmount)
      let response = try await AuthClient(endpoint.client).authenticate(request, options: options)
      result = .success(response.token)
    } catch {
      let isNotEnabled = ClientError(error, .read, endpoint: nil).code == .authNotEnabled
      result = isNotEnabled ? .success(nil) : .failure(error)
    }
    withExtendedLifetime(use) {}
    state.withLock { state in
      switch result {
      case .success(let token): state = .known(token)
      case .failure: state = .unknown
      }
    }
    return result
  }
}

/// Waits for the first of: an answer that others wait for too, the end of the time, and the task's
/// cancellation.
private final class FirstAnswer: Sendable {
  typealias Answer = Result<String?, RPCError>

  private struct State {
    var waiter: CheckedContinuation<Answer, Never>?
    var answer: Answer?
  }

  private let state = Mutex(State())

  static func of(_ exchange: TokenKeeper.Exchange, within timeout: Duration?) async -> Answer {
    let first = FirstAnswer()
    let answering = Task { first.give(await exchange.value) }
    let timing = Task {
      guard let timeout, (try? await Task.sleep(for: timeout)) != nil else { return }
      first.give(.failure(RPCError(.deadlineExceeded, mayHaveBeenProcessed: false)))
    }
    defer {
      answering.cancel()
      timing.cancel()
    }
    return await withTaskCancellationHandler {
      await withCheckedContinuation { first.wait($0) }
    } onCancel: {
      first.give(.failure(RPCError(.canceled, mayHaveBeenProcessed: false)))
    }
  }

  private func wait(_ continuation: CheckedContinuation<Answer, Never>) {
    let answer = state.withLock { state in
      if state.answer == nil { state.waiter = continuation }
      return state.answer
    }
    if let answer { continuation.resume(returning: answer) }
  }

  private func give(_ answer: Answer) {
    let waiter = state.withLock { state -> CheckedContinuation<Answer, Never>? in
      guard state.answer == nil else { return nil }
      state.answer = answer
      defer { state.waiter = nil }
      return state.waiter
    }
    waiter?.resume(returning: answer)
  }
}
