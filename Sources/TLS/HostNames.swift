import Glibc
import SwiftASN1
import X509

/// The hosts that a certificate is valid for, by its subject alternative names.
package struct HostNames: Sendable {
  package var names: [String] = []
  /// Four or sixteen bytes each.
  package var addresses: [[UInt8]] = []

  package init(names: [String] = [], addresses: [[UInt8]] = []) {
    self.names = names
    self.addresses = addresses
  }

  /// The alternative names of a certificate; none when it has no such extension. Throws what the
  /// library says of an extension that it cannot read.
  init(of certificate: Certificate) throws {
    for name in try certificate.extensions.subjectAlternativeNames ?? SubjectAlternativeNames() {
      switch name {
      case .dnsName(let text): names.append(text)
      case .ipAddress(let bytes): addresses.append(Array(bytes.bytes))
      default: break
      }
    }
  }

  /// Whether the certificate is valid for a host name or an address (IPv6 with or without
  /// brackets), by the rules that Go's clients and etcd go by: an address only by an address, a
  /// name without regard to case, `*` for one whole label at the left.
  package func cover(_ host: String) -> Bool {
    if let address = Self.address(host) { return addresses.contains(address) }
    let wanted = Self.labels(host.hasSuffix(".") ? String(host.dropLast()) : host)
    guard !wanted.isEmpty else { return false }
    return names.contains { name in
      let labels = Self.labels(name)
      guard labels.count == wanted.count else { return false }
      return zip(labels, wanted).enumerated().allSatisfy { index, pair in
        pair.0 == pair.1 || (index == 0 && pair.0 == "*" && labels.count > 1)
      }
    }
  }

  /// The lower-case labels of a name; none when one of them is empty.
  private static func labels(_ name: String) -> [String] {
    let labels = name.split(separator: ".", omittingEmptySubsequences: false)
    return labels.contains("") ? [] : labels.map { $0.lowercased() }
  }

  /// The bytes of an IP address in text; nil when it is something else. An IPv4 address in IPv6's
  /// form counts as the IPv4 address.
  package static func address(_ host: String) -> [UInt8]? {
    let text =
      host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : host
    var four = in_addr()
    if inet_pton(AF_INET, text, &four) == 1 { return withUnsafeBytes(of: four) { Array($0) } }
    var six = in6_addr()
    guard inet_pton(AF_INET6, text, &six) == 1 else { return nil }
    let bytes = withUnsafeBytes(of: six) { Array($0) }
    let isMapped = bytes[..<10].allSatisfy { $0 == 0 } && bytes[10] == 0xff && bytes[11] == 0xff
    return isMapped ? Array(bytes[12...]) : bytes
  }
}
