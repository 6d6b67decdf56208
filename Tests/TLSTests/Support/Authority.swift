import Crypto
import Foundation
import SwiftASN1
import X509

/// A certificate authority of a test, with keys of its own.
struct Authority {
  let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
  let certificate: Certificate

  static let year: TimeInterval = 365 * 86_400

  init(_ name: String = "authority") throws {
    let subject = try DistinguishedName { CommonName(name) }
    certificate = try Certificate(
      version: .v3,
      serialNumber: .init(),
      publicKey: key.publicKey,
      notValidBefore: Date() - 3600,
      notValidAfter: Date() + Self.year,
      issuer: subject,
      subject: subject,
      signatureAlgorithm: .ecdsaWithSHA256,
      extensions: try Certificate.Extensions {
        Critical(BasicConstraints.isCertificateAuthority(maxPathLength: nil))
        Critical(KeyUsage(keyCertSign: true, cRLSign: true))
      },
      issuerPrivateKey: key
    )
  }

  var pem: String { get throws { try certificate.serializeAsPEM().pemString + "\n" } }

  /// A certificate for a name, a set of hosts, a time; with its key.
  func issue(
    _ commonName: String,
    names: [String] = ["localhost"],
    addresses: [[UInt8]] = [[127, 0, 0, 1]],
    serial: Certificate.SerialNumber = .init(),
    end: Date = Date() + year
  ) throws -> Issued {
    let own = Certificate.PrivateKey(P256.Signing.PrivateKey())
    let alternatives =
      names.map { GeneralName.dnsName($0) }
      + addresses.map { GeneralName.ipAddress(ASN1OctetString(contentBytes: $0[...])) }
    let certificate = try Certificate(
      version: .v3,
      serialNumber: serial,
      publicKey: own.publicKey,
      notValidBefore: Date() - 2 * Self.year,
      notValidAfter: end,
      issuer: self.certificate.subject,
      subject: try DistinguishedName { CommonName(commonName) },
      signatureAlgorithm: .ecdsaWithSHA256,
      extensions: try Certificate.Extensions {
        Critical(BasicConstraints.notCertificateAuthority)
        try ExtendedKeyUsage([.serverAuth, .clientAuth])
        if !alternatives.isEmpty { SubjectAlternativeNames(alternatives) }
      },
      issuerPrivateKey: key
    )
    return Issued(certificate: certificate, key: own)
  }

  /// A revocation list. `signer` is another key than the authority's for a forged one.
  func revocationList(
    _ serials: [Certificate.SerialNumber],
    signer: Certificate.PrivateKey? = nil,
    hasNextUpdate: Bool = true
  ) throws -> [UInt8] {
    let algorithm: [UInt8] = [0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]
    let time = try UTCTime(year: 2026, month: 1, day: 2, hours: 3, minutes: 4, seconds: 5)
    var body = DER.Serializer()
    try body.appendConstructedNode(identifier: .sequence) { body in
      try body.serialize(1)
      body.serializeRawBytes(algorithm)
      try body.serialize(certificate.subject)
      try body.serialize(time)
      if hasNextUpdate { try body.serialize(time) }
      guard !serials.isEmpty else { return }
      try body.appendConstructedNode(identifier: .sequence) { list in
        for serial in serials {
          try list.appendConstructedNode(identifier: .sequence) { entry in
            entry.appendPrimitiveNode(identifier: .integer) { $0 += Self.integer(serial.bytes) }
            try entry.serialize(time)
          }
        }
      }
    }
    let signature = try P256.Signing.PrivateKey(
      pemRepresentation: (signer ?? key).serializeAsPEM().pemString
    ).signature(for: body.serializedBytes)
    var list = DER.Serializer()
    try list.appendConstructedNode(identifier: .sequence) { list in
      list.serializeRawBytes(body.serializedBytes)
      list.serializeRawBytes(algorithm)
      try list.serialize(ASN1BitString(bytes: Array(signature.derRepresentation)[...]))
    }
    return list.serializedBytes
  }

  /// An integer's bytes without a sign.
  private static func integer(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
    guard let first = bytes.first else { return [0] }
    return first >= 0x80 ? [0] + bytes : Array(bytes)
  }
}

/// A certificate and its key.
struct Issued {
  let certificate: Certificate
  let key: Certificate.PrivateKey

  var pem: String { get throws { try certificate.serializeAsPEM().pemString + "\n" } }
  var keyPEM: String { get throws { try key.serializeAsPEM().pemString + "\n" } }
}

/// A folder for a test's files, deleted with the object.
final class Folder: Sendable {
  let path: String

  init() throws {
    path =
      FileManager.default.temporaryDirectory.appendingPathComponent(
        "martlet-tls-\(UUID().uuidString)"
      ).path
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit {
    // What is left over is in the system's temporary directory.
    try? FileManager.default.removeItem(atPath: path)
  }

  /// Puts a file in place as a whole, as those who renew certificates do. Returns its path.
  @discardableResult
  func write(_ name: String, _ bytes: some Collection<UInt8>) throws -> String {
    let file = "\(path)/\(name)"
    try Data(bytes).write(to: URL(fileURLWithPath: file), options: .atomic)
    return file
  }

  @discardableResult
  func write(_ name: String, _ text: String) throws -> String {
    try write(name, text.utf8)
  }
}
