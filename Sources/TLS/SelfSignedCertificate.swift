import Crypto
package import FoundationEssentials
import NIOSSL
import SwiftASN1
import X509

/// The certificate that a server makes for itself (--auto-tls), kept in files as etcd does:
/// `cert.pem` and `key.pem`, the latter readable by its owner only.
package enum SelfSignedCertificate {
  package struct Files: Hashable, Sendable {
    package let certificate: String
    package let key: String
    /// They were made by this call.
    package let isNew: Bool
  }

  /// How many years a certificate may be made for.
  package static let validityYearsMax = 1000

  /// How far behind ours a client's clock may be when a certificate has just been made.
  private static let clockDifferenceSecondsMax: TimeInterval = 300
  private static let secondsPerYear: TimeInterval = 365 * 86_400

  /// Finds or makes the files in `directory`, which is made too when missing. They are made anew when
  /// they cannot be read or do not match, have expired at `now`, or lack one of `hosts` (names or
  /// addresses; the empty host and the addresses that stand for all interfaces mean this machine).
  /// Throws `cannotWrite` or `failed`.
  package static func ensure(
    in directory: String,
    hosts: [String],
    validityYears: Int,
    now: Date = Date()
  ) throws(TLSError) -> Files {
    precondition((1...validityYearsMax).contains(validityYears), "years: \(validityYears)")
    let certificateFile = "\(directory)/cert.pem"
    let keyFile = "\(directory)/key.pem"
    let names = hostNames(hosts)
    if isUsable(certificateFile, keyFile, names, now) {
      return Files(certificate: certificateFile, key: keyFile, isNew: false)
    }
    try TLSFiles.makeDirectories(directory)
    let (certificate, key): (String, String)
    do {
      (certificate, key) = try make(
        names,
        now - clockDifferenceSecondsMax,
        now + secondsPerYear * Double(validityYears)
      )
    } catch {
      throw .failed("cannot make a certificate: \(error)")
    }
    // Interrupted between the two they do not match, and are made anew the next time.
    try TLSFiles.replace(keyFile, with: key, mode: 0o600)
    try TLSFiles.replace(certificateFile, with: certificate, mode: 0o644)
    return Files(certificate: certificateFile, key: keyFile, isNew: true)
  }

  private static func hostNames(_ hosts: [String]) -> HostNames {
    var result = HostNames()
    for host in hosts {
      let own = ["", "0.0.0.0", "::"].contains(host) ? ["localhost", "127.0.0.1", "::1"] : [host]
      for name in own {
        if let address = HostNames.address(name) {
          if !result.addresses.contains(address) { result.addresses.append(address) }
        } else if !result.names.contains(name) {
          result.names.append(name)
        }
      }
    }
    if result.names.isEmpty && result.addresses.isEmpty { result.names = ["localhost"] }
    return result
  }

  private static func isUsable(
    _ certificateFile: String,
    _ keyFile: String,
    _ wanted: HostNames,
    _ now: Date
  ) -> Bool {
    guard TLSFiles.exists(certificateFile), TLSFiles.exists(keyFile),
      (try? ServerMaterial(TLSSettings(certificateFile: certificateFile, keyFile: keyFile))) != nil,
      let chain = try? ServerMaterial.certificates(certificateFile), let leaf = chain.first,
      let certificate = try? Certificate(derEncoded: leaf.toDERBytes()),
      let names = try? HostNames(of: certificate)
    else { return false }
    return certificate.notValidBefore <= now && now < certificate.notValidAfter
      && Set(wanted.names).isSubset(of: names.names)
      && Set(wanted.addresses).isSubset(of: names.addresses)
  }

  private static func make(
    _ names: HostNames,
    _ start: Date,
    _ end: Date
  ) throws -> (certificate: String, key: String) {
    let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
    let subject = try DistinguishedName { OrganizationName("martlet") }
    let alternatives =
      names.names.map { GeneralName.dnsName($0) }
      + names.addresses.map { GeneralName.ipAddress(ASN1OctetString(contentBytes: $0[...])) }
    let certificate = try Certificate(
      version: .v3,
      serialNumber: Certificate.SerialNumber(),
      publicKey: key.publicKey,
      notValidBefore: start,
      notValidAfter: end,
      issuer: subject,
      subject: subject,
      signatureAlgorithm: .ecdsaWithSHA256,
      extensions: try Certificate.Extensions {
        Critical(BasicConstraints.notCertificateAuthority)
        // No key usage: one without the right to sign certificates would keep clients from verifying
        // the certificate by itself, and one with it would make an authority of it.
        try ExtendedKeyUsage([.serverAuth])
        SubjectAlternativeNames(alternatives)
      },
      issuerPrivateKey: key
    )
    return (
      try certificate.serializeAsPEM().pemString + "\n", try key.serializeAsPEM().pemString + "\n"
    )
  }
}
