import Glibc

enum IPAddress {
  /// What an address of either family takes at most, in bytes.
  private static let byteCountMax = 16

  /// Whether `host` is a literal IPv4 or IPv6 address (an IPv6 zone may follow) or `localhost`.
  static func isListenable(_ host: String) -> Bool {
    if host == "localhost" || isLiteral(host, AF_INET) { return true }
    let address = host.split(separator: "%", maxSplits: 1).first.map(String.init) ?? ""
    return isLiteral(address, AF_INET6)
  }

  private static func isLiteral(_ text: String, _ family: Int32) -> Bool {
    withUnsafeTemporaryAllocation(byteCount: byteCountMax, alignment: byteCountMax) { address in
      inet_pton(family, text, address.baseAddress) == 1
    }
  }
}
