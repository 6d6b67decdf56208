import Flags
import Membership
import TLS

/// Where founding members find each other: the keys below `/_etcd/registry` of an etcd cluster, by
/// the protocol of etcd's v3 discovery.
public struct DiscoverySettings: Hashable, Sendable {
  /// What the cluster to be is called there. Also the token that its members' IDs are made with.
  public var token = ""
  /// Client addresses of the discovery service: `http://host:port`, `https://host:port`, or
  /// `host:port`.
  public var endpoints: [String] = []
  public var dialTimeout: Duration = .seconds(2)
  public var requestTimeout: Duration = .seconds(5)
  /// Silence after which a connection is pinged, and how long the answer may take.
  public var keepaliveTime: Duration = .seconds(2)
  public var keepaliveTimeout: Duration = .seconds(6)
  /// Addresses without a scheme are called without TLS.
  public var isPlain = true
  /// The service's certificate is not looked at.
  public var skipsVerification = false
  /// PEM files: what this member shows to the service, and who signs the service's certificate.
  public var certificateFile = ""
  public var keyFile = ""
  public var authoritiesFile = ""
  /// A user, or with an empty `password` both as `user:password`; empty: without authentication.
  public var user = ""
  public var password = ""

  public init() {}

  /// Whether members are looked up there.
  package var isUsed: Bool { !endpoints.isEmpty || !token.isEmpty }
}

/// Discovery settings that were checked.
struct DiscoveryPlan: Hashable, Sendable {
  let settings: DiscoverySettings
  let urls: [ServerURL]
  let user: (name: String, password: String)?

  static func == (left: Self, right: Self) -> Bool { left.settings == right.settings }
  func hash(into hasher: inout Hasher) { hasher.combine(settings) }

  /// The most addresses of the service.
  static let endpointsMax = 64

  /// Throws what is wrong with the settings.
  init(_ settings: DiscoverySettings) throws(ConfigurationError) {
    guard settings.endpoints.isEmpty == settings.token.isEmpty else {
      throw .invalid("both --discovery-endpoints and --discovery-token must be set.")
    }
    let parts = settings.token.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.allSatisfy({ !["", ".", ".."].contains($0) }) else {
      throw .invalid(
        "--discovery-token: expected a name without empty parts, '.' or '..' between slashes, found "
          + "\(settings.token.debugDescription)."
      )
    }
    guard settings.certificateFile.isEmpty == settings.keyFile.isEmpty else {
      throw .invalid("--discovery-cert and --discovery-key must be given together.")
    }
    for (flag, duration) in [
      ("discovery-dial-timeout", settings.dialTimeout),
      ("discovery-request-timeout", settings.requestTimeout),
      ("discovery-keepalive-timeout", settings.keepaliveTimeout),
    ] where duration <= .zero {
      throw .invalid("--\(flag) must be more than 0 (is \(GoDuration.text(duration))).")
    }
    guard settings.endpoints.count <= Self.endpointsMax else {
      throw .invalid("--discovery-endpoints: more than \(Self.endpointsMax) addresses.")
    }
    var urls: [ServerURL] = []
    for endpoint in settings.endpoints {
      let scheme = settings.isPlain ? "http" : "https"
      do {
        urls.append(
          try ServerURL(endpoint.contains("://") ? endpoint : "\(scheme)://\(endpoint)")
        )
      } catch {
        throw .invalid("--discovery-endpoints: \(error).")
      }
    }
    self.settings = settings
    self.urls = urls
    user = try Self.user(settings)
  }

  private static func user(
    _ settings: DiscoverySettings
  ) throws(ConfigurationError) -> (String, String)? {
    guard !settings.user.isEmpty else {
      guard settings.password.isEmpty else {
        throw .invalid("--discovery-password needs --discovery-user.")
      }
      return nil
    }
    if !settings.password.isEmpty { return (settings.user, settings.password) }
    guard let colon = settings.user.firstIndex(of: ":") else {
      throw .invalid(
        "--discovery-user: the password is missing; give user:password, or --discovery-password."
      )
    }
    let password = settings.user[settings.user.index(after: colon)...]
    return (String(settings.user[..<colon]), String(password))
  }

  /// The TLS of connections to the service.
  var tls: ClientTLSSettings {
    var tls = ClientTLSSettings()
    tls.authoritiesFile = settings.authoritiesFile
    tls.certificateFile = settings.certificateFile
    tls.keyFile = settings.keyFile
    tls.skipsVerification = settings.skipsVerification
    return tls
  }
}
