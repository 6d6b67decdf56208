import Membership
import NIOCore

/// Whether lists of peer URLs name the same addresses, though one may say names and the other
/// what they stand for.
enum PeerURLs {
  static func name(_ left: [ServerURL], _ right: [String]) -> Bool {
    let texts = left.map(\.description).sorted()
    if texts == right.sorted() { return true }
    guard let parsed = try? ServerURL.list(right) else { return false }
    return areEqual(left, parsed)
  }

  /// Compares the texts, and, only where they differ, what the hosts resolve to.
  static func areEqual(_ left: [ServerURL], _ right: [ServerURL]) -> Bool {
    if left.sorted() == right.sorted() { return true }
    guard left.count == right.count, let first = resolved(left), let second = resolved(right) else {
      return false
    }
    return first == second
  }

  /// The addresses that URLs stand for, sorted; nil when one cannot be resolved.
  private static func resolved(_ urls: [ServerURL]) -> [String]? {
    var addresses: [String] = []
    for url in urls {
      if url.isUnixSocket {
        addresses.append(url.description)
        continue
      }
      guard
        let address = try? SocketAddress.makeAddressResolvingHost(url.host, port: Int(url.port)),
        let ip = address.ipAddress
      else { return nil }
      addresses.append("\(url.scheme.rawValue)://\(ip):\(url.port)")
    }
    return addresses.sorted()
  }
}
