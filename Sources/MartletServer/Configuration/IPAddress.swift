import Glibc

enum IPAddress {
  /// Whether `host` is a literal IPv4 or IPv6 address (an IPv6 zone may follow) or `localhost`.
  static func isListenable(_ host: String) -> Bool {
    if host == "localhost" { return true }
    var ipv4 = in_addr()
    if inet_pton(AF_INET, host, &ipv4) == 1 { return true }
    var ipv6 = in6_addr()
    let address = host.split(separator: "%", maxSplits: 1).first.map(String.init) ?? ""
    return inet_pton(AF_INET6, address, &ipv6) == 1
  }
}
