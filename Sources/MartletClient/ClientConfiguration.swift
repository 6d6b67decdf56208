public import CoreMetrics
public import Logging
import TLS
public import Tracing

/// How a `Client` reaches the cluster, and how patient it is.
public struct ClientConfiguration: Sendable {
  /// Where members are reached: `http://host:port`, `https://host:port`, `host:port` or
  /// `unix:///path`. Without a scheme, `tls` decides.
  public var endpoints: [String]
  /// What encrypted connections go by. With nil, `https` endpoints are checked against the system's
  /// authorities.
  public var tls: TLS?
  /// Who the calls are made as. The password is sent once, for a token, and again when the token
  /// has run out.
  public var credentials: Credentials?
  /// How long a call may take, its repetitions included; nil: until it ends or its task is
  /// cancelled. Calls that wait by their nature (`Locks.lock`, `Elections.campaign`) and streams do
  /// not go by it.
  public var deadline: Duration? = .seconds(10)
  /// Which of the members that answer gets the next call.
  public var balancing = Balancing.roundRobin
  /// How long connecting to one endpoint may take.
  public var connectTimeout: Duration = .seconds(2)
  /// After so long a silence a connection with calls under way is asked for a sign of life. Members
  /// cut off those who ask more often than every 5 seconds.
  public var keepaliveInterval: Duration = .seconds(10)
  /// How long the sign of life may take before the connection is given up.
  public var keepaliveTimeout: Duration = .seconds(5)
  /// How often the endpoints are replaced by those that the members publish; nil never.
  public var memberSyncInterval: Duration?
  /// The pause before a call is tried again when no endpoint would take it. It doubles each time
  /// up to `backoffMax`, and is cut at random by up to a half.
  public var backoffMin: Duration = .milliseconds(25)
  public var backoffMax: Duration = .seconds(2)
  /// The longest response that is taken, in bytes.
  public var responseBytesMax = Int(Int32.max)
  /// Hears of endpoints that fail, tokens renewed, leases lost: nothing of keys and values.
  public var logger = Logger(label: "martlet.client", factory: { _ in SwiftLogNoOpLogHandler() })
  /// Where figures of calls go; nil: to the program's `MetricsSystem`.
  public var metricsFactory: (any MetricsFactory)?
  /// What makes a span of every call; nil: the program's `InstrumentationSystem`.
  public var tracer: (any Tracer)?

  public init(endpoints: [String] = ["http://127.0.0.1:2379"]) {
    self.endpoints = endpoints
  }

  /// A user of the cluster.
  public struct Credentials: Sendable {
    public var username: String
    public var password: String

    public init(username: String, password: String) {
      self.username = username
      self.password = password
    }
  }

  /// Which endpoint gets the next call. One that failed is left alone for a while in any case.
  public enum Balancing: Sendable {
    /// One after the other.
    case roundRobin
    /// The same, as long as it answers: serializable reads never go back in time until then.
    case sticky
  }

  /// Files and names of encrypted connections.
  public struct TLS: Sendable {
    /// PEM: who signs the members' certificates. Empty: the system's authorities.
    public var authoritiesFile = ""
    /// PEM: what this client shows, and its key. Empty: nothing.
    public var certificateFile = ""
    public var keyFile = ""
    /// The name that the members' certificates must be for, when it is not the endpoint's host.
    public var serverName = ""
    /// Takes any certificate: anybody in between can read and change everything.
    public var skipsVerification = false

    public init(authoritiesFile: String = "", certificateFile: String = "", keyFile: String = "") {
      self.authoritiesFile = authoritiesFile
      self.certificateFile = certificateFile
      self.keyFile = keyFile
    }

    var settings: ClientTLSSettings {
      var settings = ClientTLSSettings()
      settings.authoritiesFile = authoritiesFile
      settings.certificateFile = certificateFile
      settings.keyFile = keyFile
      settings.serverName = serverName
      settings.skipsVerification = skipsVerification
      return settings
    }
  }
}
