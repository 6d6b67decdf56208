import Glibc
import MartletClient

/// What a client is made from: of the global flags, or of the flags of a mirror's destination.
struct ConnectionSettings {
  var endpoints: [String] = []
  var authoritiesFile = ""
  var certificateFile = ""
  var keyFile = ""
  /// Whom the members' certificates must name; empty: the host of each endpoint.
  var serverName = ""
  var skipsVerification = false
  /// Whether endpoints without a scheme are spoken to without encryption.
  var mayBePlain = true
  var credentials: ClientConfiguration.Credentials?
  /// How long one call may take.
  var deadline = Duration.seconds(5)
  var connectTimeout = Duration.seconds(2)
  var keepaliveInterval = Duration.seconds(10)
  var keepaliveTimeout = Duration.seconds(6)
  var isDebugging = false

  /// Throws `Failure` with etcdctl's words for files that are missing.
  func client() throws -> Client {
    if certificateFile.isEmpty != keyFile.isEmpty {
      throw Failure.badArguments(
        "KeyFile and CertFile must both be present[key: \(keyFile), cert: \(certificateFile)]"
      )
    }
    for file in [certificateFile, keyFile, authoritiesFile] where !file.isEmpty {
      guard access(file, R_OK) == 0 else {
        throw Failure.badArguments("open \(file): \(SystemError.text(errno))")
      }
    }
    var configuration = ClientConfiguration(endpoints: endpoints)
    let usesTLS =
      !authoritiesFile.isEmpty || !certificateFile.isEmpty || skipsVerification || !mayBePlain
    if usesTLS {
      var tls = ClientConfiguration.TLS(
        authoritiesFile: authoritiesFile,
        certificateFile: certificateFile,
        keyFile: keyFile
      )
      tls.serverName = serverName
      tls.skipsVerification = skipsVerification
      configuration.tls = tls
    }
    configuration.credentials = credentials
    configuration.deadline = deadline
    configuration.connectTimeout = connectTimeout
    configuration.keepaliveInterval = keepaliveInterval
    configuration.keepaliveTimeout = keepaliveTimeout
    if isDebugging { configuration.logger = DebugLog.logger }
    do throws(ClientError) {
      return try Client(configuration)
    } catch {
      throw Failure(error, .badArguments)
    }
  }
}

/// Words for `errno`, as Go prints them.
enum SystemError {
  static func text(_ number: Int32) -> String { lowercased(String(cString: strerror(number))) }

  /// With a small letter first.
  static func lowercased(_ text: String) -> String {
    text.prefix(1).lowercased() + text.dropFirst()
  }
}
