import Flags
import FoundationEssentials
import JWTKit

extension SignedTokens {
  /// The options behind `--auth-token jwt`, read and checked, files included.
  struct Options: Sendable {
    var method: SigningMethod
    /// The content of `priv-key`: PEM, or for HS methods the secret itself.
    var privateKey: Data?
    /// The content of `pub-key`: PEM of a key or a certificate.
    var publicKey: Data?
    var ttl: Duration

    static let ttlDefault = Duration.seconds(300)
    private static let names = ["pub-key", "priv-key", "sign-method", "ttl"]

    init(_ words: [String]) throws(ConfigurationError) {
      var values: [String: String] = [:]
      for word in words {
        let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        let name = String(parts[0])
        guard parts.count == 2, Self.names.contains(name) else {
          throw .invalid(
            "--auth-token jwt takes \(Self.names.joined(separator: ", ")), each with =, "
              + "not \(word.debugDescription)."
          )
        }
        guard values.updateValue(String(parts[1]), forKey: name) == nil else {
          throw .invalid("--auth-token jwt has \(name) twice.")
        }
      }
      guard let text = values["sign-method"], let method = SigningMethod(rawValue: text) else {
        let all = SigningMethod.allCases.map(\.rawValue).joined(separator: ", ")
        throw .invalid(
          "--auth-token jwt needs sign-method, one of \(all) "
            + "(is \(values["sign-method"] ?? "not there"))."
        )
      }
      self.method = method
      ttl = try Self.ttl(values["ttl"])
      privateKey = try Self.file(values["priv-key"], "priv-key")
      publicKey = try Self.file(values["pub-key"], "pub-key")
      if method.isSymmetric && privateKey == nil {
        throw .invalid("--auth-token jwt with sign-method=\(text) needs priv-key, the secret.")
      }
      guard privateKey != nil || publicKey != nil else {
        throw .invalid("--auth-token jwt needs priv-key, or pub-key to check tokens only.")
      }
    }

    private static func ttl(_ text: String?) throws(ConfigurationError) -> Duration {
      guard let text else { return ttlDefault }
      guard let ttl = GoDuration.parse(text), ttl > .zero else {
        throw .invalid("--auth-token jwt: ttl must be a duration such as 10m (is \(text)).")
      }
      return ttl
    }

    private static func file(_ path: String?, _ name: String) throws(ConfigurationError) -> Data? {
      guard let path else { return nil }
      do {
        return try Data(contentsOf: URL(fileURLWithPath: path))
      } catch {
        throw .invalid("--auth-token jwt: \(name) cannot be read from \(path.debugDescription).")
      }
    }
  }

  enum SigningMethod: String, CaseIterable, Sendable {
    case rs256 = "RS256"
    case rs384 = "RS384"
    case rs512 = "RS512"
    case ps256 = "PS256"
    case ps384 = "PS384"
    case ps512 = "PS512"
    case es256 = "ES256"
    case es384 = "ES384"
    case es512 = "ES512"
    case eddsa = "EdDSA"
    case hs256 = "HS256"
    case hs384 = "HS384"
    case hs512 = "HS512"

    var isSymmetric: Bool { rawValue.hasPrefix("HS") }

    fileprivate var digest: DigestAlgorithm {
      if rawValue.hasSuffix("384") { return .sha384 }
      return rawValue.hasSuffix("512") ? .sha512 : .sha256
    }
  }
}

extension SignedTokens.SigningMethod {
  /// Which key of a pair is in a file.
  enum Half {
    case privateKey
    case publicKey
  }

  /// A collection with the one key in `pem`. Throws what the key's library says.
  func keys(_ pem: Data, _ half: Half) async throws -> JWTKeyCollection {
    let keys = JWTKeyCollection()
    switch self {
    case .hs256, .hs384, .hs512:
      await keys.add(hmac: HMACKey(from: pem), digestAlgorithm: digest)
    case .rs256, .rs384, .rs512, .ps256, .ps384, .ps512:
      try await addRSA(to: keys, pem, half)
    case .es256, .es384, .es512:
      try await addECDSA(to: keys, pem, half)
    case .eddsa:
      let text = String(decoding: pem, as: UTF8.self)
      switch half {
      case .privateKey: await keys.add(eddsa: try EdDSA.PrivateKey(pem: text))
      case .publicKey: await keys.add(eddsa: try EdDSA.PublicKey(pem: text))
      }
    }
    return keys
  }

  private func addRSA(to keys: JWTKeyCollection, _ pem: Data, _ half: Half) async throws {
    let isPSS = rawValue.hasPrefix("PS")
    switch half {
    case .privateKey:
      let key = try Insecure.RSA.PrivateKey(pem: pem)
      if isPSS {
        await keys.add(pss: key, digestAlgorithm: digest)
      } else {
        await keys.add(rsa: key, digestAlgorithm: digest)
      }
    case .publicKey:
      let key =
        try Self.isCertificate(pem)
        ? Insecure.RSA.PublicKey(certificatePEM: pem) : Insecure.RSA.PublicKey(pem: pem)
      if isPSS {
        await keys.add(pss: key, digestAlgorithm: digest)
      } else {
        await keys.add(rsa: key, digestAlgorithm: digest)
      }
    }
  }

  private func addECDSA(to keys: JWTKeyCollection, _ pem: Data, _ half: Half) async throws {
    switch self {
    case .es384: try await Self.add(ES384PrivateKey.self, ES384PublicKey.self, to: keys, pem, half)
    case .es512: try await Self.add(ES512PrivateKey.self, ES512PublicKey.self, to: keys, pem, half)
    default: try await Self.add(ES256PrivateKey.self, ES256PublicKey.self, to: keys, pem, half)
    }
  }

  private static func add<Curve: ECDSACurveType>(
    _: ECDSA.PrivateKey<Curve>.Type,
    _: ECDSA.PublicKey<Curve>.Type,
    to keys: JWTKeyCollection,
    _ pem: Data,
    _ half: Half
  ) async throws {
    switch half {
    case .privateKey:
      await keys.add(ecdsa: try ECDSA.PrivateKey<Curve>(pem: pem))
    case .publicKey:
      let key =
        try isCertificate(pem)
        ? ECDSA.PublicKey<Curve>(certificate: pem) : ECDSA.PublicKey<Curve>(pem: pem)
      await keys.add(ecdsa: key)
    }
  }

  private static func isCertificate(_ pem: Data) -> Bool {
    String(decoding: pem, as: UTF8.self).contains("BEGIN CERTIFICATE")
  }
}
