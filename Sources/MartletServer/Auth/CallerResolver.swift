import Auth
import RPC
import Replica

/// Says in whose name the calls of one event loop are made, and what that user may do.
///
/// Confined to its event loop. While authentication is off nothing but the published stamp is
/// looked at.
final class CallerResolver {
  private let published: PublishedAuth
  private let tokens: TokenProvider
  private var checker: AccessChecker
  private var stamp: PublishedAuth.Stamp
  private let needs: [MethodAccess]

  /// `paths` are the methods of the event loop, by their numbers.
  init(_ published: PublishedAuth, tokens: TokenProvider, paths: [String]) {
    self.published = published
    self.tokens = tokens
    let (state, stamp) = published.stamped
    checker = AccessChecker(state)
    self.stamp = stamp
    needs = paths.map { MethodAccess(path: $0) }
  }

  /// Takes in what was published; returns whether authentication is on.
  @inline(__always)
  private func refresh() -> Bool {
    let now = published.stamp
    if now != stamp { takeIn() }
    return now.isEnabled
  }

  private func takeIn() {
    let (state, stamp) = published.stamped
    checker.update(state)
    self.stamp = stamp
  }

  /// Why a call may not begin; nil when it may.
  func refusal(method: Int, _ call: ServerCall) -> RPCStatus? {
    guard refresh() else { return nil }
    let need = needs[method]
    if need == .anybody { return nil }
    do throws(RequestError) {
      let caller = try resolve(call)
      // The exact revision is looked at where keys are.
      try Self.rethrowing { () throws(AuthError) in
        switch need {
        case .root: try checker.requireRoot(caller)
        case .account: _ = try checker.accountAccess(of: caller)
        case .user, .anybody: _ = try checker.managementAccess(of: caller)
        }
      }
      return nil
    } catch {
      return RPCStatus(error)
    }
  }

  /// In whose name a call is made, `.nobody` when it says nothing; nil when authentication is off.
  /// Throws `.invalidAuthToken`.
  func caller(of call: ServerCall) throws(RequestError) -> Caller? {
    refresh() ? try resolve(call) : nil
  }

  /// What a call's user may do, and the stamp of the state that says so; no access when
  /// authentication is off. Throws `.invalidAuthToken`, `.userEmpty`, `.oldAuthRevision` or
  /// `.permissionDenied`.
  func access(
    of call: ServerCall
  ) throws(RequestError) -> (access: UserAccess?, stamp: PublishedAuth.Stamp) {
    guard refresh() else { return (nil, stamp) }
    let caller = try resolve(call)
    let access = try Self.rethrowing { () throws(AuthError) in try checker.access(of: caller) }
    return (access, stamp)
  }

  /// The state as this event loop knows it.
  var state: AuthState {
    _ = refresh()
    return checker.state
  }

  private func resolve(_ call: ServerCall) throws(RequestError) -> Caller {
    let state = checker.state
    let found: Caller?? = call.withHeader(named: "token") { token in
      token.map { tokens.caller(Self.withoutScheme($0), in: state) }
    }
    let caller: Caller?? =
      found
      ?? call.withHeader(named: "authorization") { token in
        token.map { tokens.caller(Self.withoutScheme($0), in: state) }
      }
    if let caller {
      guard let caller else { throw .invalidAuthToken }
      return caller
    }
    // No token: the certificate speaks, if users are to be known by theirs.
    guard let name = call.peerCommonName else { return .nobody }
    return Caller(name: AuthName(name.utf8), revision: state.revision)
  }

  /// A token without the `Bearer ` that may stand before it.
  private static func withoutScheme(_ text: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    let scheme: StaticString = "bearer "
    guard text.count >= scheme.utf8CodeUnitCount else { return text }
    for index in 0..<scheme.utf8CodeUnitCount
    where text[index] | 0x20 != scheme.utf8Start[index] { return text }
    return UnsafeRawBufferPointer(rebasing: text[scheme.utf8CodeUnitCount...])
  }

  private static func rethrowing<Result>(
    _ body: () throws(AuthError) -> Result
  ) throws(RequestError) -> Result {
    do throws(AuthError) {
      return try body()
    } catch {
      throw RequestError(error)
    }
  }
}
