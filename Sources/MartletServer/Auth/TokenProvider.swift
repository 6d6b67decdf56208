import Auth
import Base
import Replica

/// Gives tokens to users who have shown their password, and knows users by them again: what
/// `--auth-token` chooses. Any thread.
enum TokenProvider: Sendable {
  case simple(SimpleTokens)
  case signed(SignedTokens)

  /// Reads `--auth-token` and the files that it names.
  init(_ source: ServerConfiguration) async throws(ConfigurationError) {
    let words = source.authToken.split(separator: ",", omittingEmptySubsequences: false)
    switch words.first {
    case "simple":
      guard words.count == 1 else {
        throw .invalid("--auth-token simple takes no options (is \(source.authToken)).")
      }
      let nanoseconds = UInt64(source.authTokenTTLSeconds) * 1_000_000_000
      self = .simple(SimpleTokens(ttlNanoseconds: nanoseconds))
    case "jwt":
      let options = try SignedTokens.Options(words.dropFirst().map(String.init))
      self = .signed(try await SignedTokens(options))
    default:
      throw .invalid(
        "--auth-token must be simple or jwt,sign-method=..,priv-key=..,pub-key=..,ttl=.. "
          + "(is \(source.authToken))."
      )
    }
  }

  /// Who makes a call with this token; nil when it is not valid.
  func caller(_ token: UnsafeRawBufferPointer, in state: AuthState) -> Caller? {
    switch self {
    case .simple(let tokens):
      // A token that is honoured stands for its user as of now.
      tokens.user(of: token, in: state).map { Caller(name: $0, revision: state.revision) }
    case .signed(let tokens):
      tokens.caller(token)
    }
  }

  /// Takes in a log-in that went through the log.
  func know(_ logIn: LogIn, givenAt revision: UInt64) {
    if case .simple(let tokens) = self {
      tokens.know(logIn.token, of: logIn.user, givenAt: revision)
    }
  }

  /// A new token for a user whose password was found right in `state`.
  func assign(_ user: AuthUser, in state: AuthState) async throws(SignedTokens.Failure) -> String {
    switch self {
    case .simple(let tokens): tokens.assign(user, in: state)
    case .signed(let tokens): try await tokens.assign(user.name, revision: state.revision)
    }
  }
}
