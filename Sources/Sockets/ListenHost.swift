/// The host that a server listens on when its flag names one.
package enum ListenHost {
  /// `localhost` is 127.0.0.1, as it is for Go's servers: resolvers name ::1 first, and clients that
  /// were told 127.0.0.1 do not look there. Any other host stays as it is.
  package static func resolved(_ host: String) -> String {
    host == "localhost" ? "127.0.0.1" : host
  }
}
