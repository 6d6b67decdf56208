import Auth
import FoundationEssentials
import JWTKit
import Synchronization

/// The tokens of `--auth-token jwt`: a user's name, the auth revision and an end, signed. Every
/// member with the key knows them, and after restarts as well.
///
/// A signature is checked when a token first comes, on the event loop that it came to; then the
/// token is remembered. Any thread.
final class SignedTokens: Sendable {
  enum Failure: Error, Sendable {
    /// There is only the key that checks tokens.
    case verifyOnly
    case signing(String)
  }

  /// What a token says.
  private struct Claims: JWTPayload {
    var username: String
    var revision: UInt64
    /// Seconds since 1970; none: without end.
    var exp: Double?
    var nbf: Double?

    func verify(using algorithm: some JWTAlgorithm) async throws {}
  }

  /// A token whose signature was right.
  private struct Known {
    var caller: Caller
    var notBefore: Double
    var end: Double
  }

  /// This many tokens are remembered; beyond, all are forgotten and checked anew as they come.
  static let knownMax = 10_000

  private let signer: JWTKeyCollection?
  private let verifier: any JWTAlgorithm
  private let method: SigningMethod
  private let ttlSeconds: Double
  private let now: @Sendable () -> Double
  private let known = Mutex<[[UInt8]: Known]>([:])

  /// Reads the keys. `now` is the time in seconds since 1970.
  init(
    _ options: Options,
    now: @escaping @Sendable () -> Double = { Date().timeIntervalSince1970 }
  ) async throws(ConfigurationError) {
    method = options.method
    ttlSeconds = options.ttl / .seconds(1)
    self.now = now
    var signer: JWTKeyCollection?
    do {
      signer = try await Self.keys(options.privateKey, options.method, .privateKey)
    } catch {
      throw .invalid("--auth-token jwt: priv-key is no key for \(method.rawValue): \(error).")
    }
    self.signer = signer
    do {
      let publicKeys =
        method.isSymmetric
        ? nil : try await Self.keys(options.publicKey, options.method, .publicKey)
      // A private key has its public half in it.
      guard let keys = publicKeys ?? signer else {
        throw ConfigurationError.invalid("--auth-token jwt needs a key.")
      }
      verifier = try await keys.getKey()
    } catch let error as ConfigurationError {
      throw error
    } catch {
      throw .invalid("--auth-token jwt: pub-key is no key for \(method.rawValue): \(error).")
    }
  }

  private static func keys(
    _ content: Data?,
    _ method: SigningMethod,
    _ half: SigningMethod.Half
  ) async throws -> JWTKeyCollection? {
    guard let content else { return nil }
    return try await method.keys(content, half)
  }

  /// A token for a user at an auth revision.
  func assign(_ user: AuthName, revision: UInt64) async throws(Failure) -> String {
    guard let signer else { throw .verifyOnly }
    let claims = Claims(
      username: String(decoding: user, as: UTF8.self),
      revision: revision,
      exp: (now() + ttlSeconds).rounded(.down)
    )
    do {
      return try await signer.sign(claims)
    } catch {
      throw .signing("\(error)")
    }
  }

  /// Who a token is for; nil when it is forged, over, or none of ours.
  func caller(_ token: UnsafeRawBufferPointer) -> Caller? {
    let token = [UInt8](token)
    guard let known = known.withLock({ $0[token] }) ?? verify(token) else { return nil }
    let now = now()
    guard now >= known.notBefore, now < known.end else { return nil }
    return known.caller
  }

  private func verify(_ token: [UInt8]) -> Known? {
    guard let claims = check(token) else { return nil }
    let found = Known(
      caller: Caller(name: AuthName(claims.username.utf8), revision: claims.revision),
      notBefore: claims.nbf ?? -.infinity,
      end: claims.exp ?? .infinity
    )
    known.withLock { known in
      if known.count >= Self.knownMax { known.removeAll() }
      known[token] = found
    }
    return found
  }

  /// The claims of a token whose signature is right. Nothing of it is read before that.
  private func check(_ token: [UInt8]) -> Claims? {
    let parser = DefaultJWTParser()
    guard let parts = try? parser.getTokenParts(token),
      let signature = Self.decode(parts.signature)
    else { return nil }
    let signed = parts.header + [UInt8(ascii: ".")] + parts.payload
    guard (try? verifier.verify(signature, signs: signed)) == true,
      let parsed = try? parser.parse(token, as: Claims.self),
      parsed.header.alg == method.rawValue
    else { return nil }
    return parsed.payload
  }

  /// Decodes base64 of the kind that URLs take, without padding.
  private static func decode(_ text: ArraySlice<UInt8>) -> Data? {
    var base64 = text.map { byte in
      switch byte {
      case UInt8(ascii: "-"): UInt8(ascii: "+")
      case UInt8(ascii: "_"): UInt8(ascii: "/")
      default: byte
      }
    }
    base64 += [UInt8](repeating: UInt8(ascii: "="), count: (4 - base64.count % 4) % 4)
    return Data(base64Encoded: Data(base64))
  }
}
