import Glibc
import NIOSSL
import SwiftASN1
import X509

/// What a client's certificate must be besides verified.
struct ClientCheck: Sendable {
  var revoked: RevocationList?
  var allowedHostNames: [String] = []
  var allowedCommonName = ""
  var checksAddresses = false

  /// Looks at a certificate that the library has verified, if the client showed one; `address` is
  /// where it comes from, nil on a unix socket. Returns its common name, nil when it has none; throws
  /// why the client is refused.
  func check(
    _ presented: NIOSSLCertificate?,
    from address: String?,
    now: time_t
  ) throws(Refusal) -> String? {
    guard let presented else {
      guard allowedHostNames.isEmpty, allowedCommonName.isEmpty else {
        throw Refusal(reason: "the client shows no certificate")
      }
      return nil
    }
    // A resumed session is not verified anew by the library.
    guard presented.notValidAfter >= now else {
      throw Refusal(reason: "the client's certificate has expired")
    }
    let serial = presented.serialNumber
    if let revoked, revoked.contains(serial: serial) {
      let digits = serial.map { Self.hex($0) }.joined()
      throw Refusal(reason: "the client's certificate, serial number \(digits), is revoked")
    }
    let certificate: Certificate
    let hosts: HostNames
    do {
      certificate = try Certificate(derEncoded: presented.toDERBytes())
      hosts = try HostNames(of: certificate)
    } catch {
      throw Refusal(reason: "the client's certificate cannot be read: \(error)")
    }
    let commonName = certificate.commonName
    guard allowedCommonName.isEmpty || commonName == allowedCommonName else {
      throw Refusal(
        reason: "the client's certificate is of \(commonName?.debugDescription ?? "nobody")"
      )
    }
    guard allowedHostNames.isEmpty || allowedHostNames.contains(where: { hosts.cover($0) }) else {
      throw Refusal(reason: "the client's certificate is for none of the allowed host names")
    }
    if checksAddresses, let address, !Self.mayComeFrom(address, hosts) {
      throw Refusal(reason: "the client's certificate is not for \(address), where it comes from")
    }
    return commonName
  }

  /// A name may stand for any address: it would have to be looked up, and that takes time.
  private static func mayComeFrom(_ address: String, _ hosts: HostNames) -> Bool {
    hosts.addresses.isEmpty || !hosts.names.isEmpty || hosts.cover(address)
  }

  private static func hex(_ byte: UInt8) -> String {
    let digits = String(byte, radix: 16)
    return byte < 16 ? "0\(digits)" : digits
  }

  /// Why a client is refused; for the log.
  struct Refusal: Error {
    let reason: String
  }
}

extension Certificate {
  /// The subject's last common name; nil when there is none or it is empty.
  var commonName: String? {
    for part in subject.reversed() {
      for attribute in part where attribute.type == .RDNAttributeType.commonName {
        guard let text = String(attribute.value), !text.isEmpty else { return nil }
        return text
      }
    }
    return nil
  }
}
