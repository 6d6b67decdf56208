import SwiftASN1
package import X509

/// The serial numbers of a certificate revocation list (RFC 5280, section 5).
///
/// As in etcd a serial number counts whoever issued it: to refuse too much is the safe side.
package struct RevocationList: Sendable {
  private let revoked: Set<[UInt8]>
  /// Whether the signature was checked against one of the authorities given.
  package let isVerified: Bool

  /// How many certificates are revoked.
  package var count: Int { revoked.count }

  /// Reads a list in PEM or DER. Its signature is checked when the issuer is among `authorities`;
  /// a list of another issuer is taken as it is.
  ///
  /// Throws why it cannot be used, as `Unusable`.
  package init(_ bytes: [UInt8], authorities: [Certificate]) throws(Unusable) {
    let list: SignedList
    do {
      list = try SignedList(derEncoded: try Self.binary(bytes))
    } catch let error as Unusable {
      throw error
    } catch {
      throw Unusable(reason: "\(error)")
    }
    revoked = list.revoked
    let issuers = authorities.filter { $0.subject == list.issuer }
    isVerified = !issuers.isEmpty && list.algorithm != nil
    guard isVerified, let algorithm = list.algorithm else { return }
    let isGenuine = issuers.contains { issuer in
      issuer.publicKey.isValidSignature(
        list.signature,
        for: list.signedBytes,
        signatureAlgorithm: algorithm
      )
    }
    guard isGenuine else {
      throw Unusable(reason: "its signature is not that of its issuer, \(list.issuer)")
    }
  }

  /// Whether the certificate with this serial number, big-endian, is revoked.
  package func contains(serial: some Collection<UInt8>) -> Bool {
    revoked.contains(Self.trimmed(serial))
  }

  /// Without the zeros in front, which encodings differ in.
  fileprivate static func trimmed(_ serial: some Collection<UInt8>) -> [UInt8] {
    Array(serial.drop { $0 == 0 })
  }

  private static func binary(_ bytes: [UInt8]) throws -> [UInt8] {
    // DER begins with a sequence's tag.
    if bytes.first == 0x30 { return bytes }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw Unusable(reason: "neither PEM nor DER")
    }
    let documents = try PEMDocument.parseMultiple(pemString: text)
    guard let document = documents.first(where: { $0.discriminator == "X509 CRL" }) else {
      throw Unusable(reason: "no X509 CRL in it")
    }
    return document.derBytes
  }

  /// Why a list was refused.
  package struct Unusable: Error, Hashable {
    package let reason: String
  }
}

/// `CertificateList` of the RFC, as far as it is needed.
private struct SignedList: DERParseable {
  var issuer: DistinguishedName
  var revoked: Set<[UInt8]> = []
  /// Nil when it is one that cannot be checked here.
  var algorithm: Certificate.SignatureAlgorithm?
  var signature: ArraySlice<UInt8>
  var signedBytes: ArraySlice<UInt8>

  init(derEncoded node: ASN1Node) throws {
    guard node.identifier == .sequence, case .constructed(let parts) = node.content else {
      throw RevocationList.Unusable(reason: "no certificate list")
    }
    var iterator = parts.makeIterator()
    guard let body = iterator.next(), let algorithm = iterator.next(), let end = iterator.next(),
      iterator.next() == nil, body.identifier == .sequence,
      case .constructed(let fields) = body.content
    else { throw RevocationList.Unusable(reason: "no certificate list") }
    signedBytes = body.encodedBytes
    signature = try ASN1BitString(derEncoded: end).bytes
    self.algorithm = try Self.algorithm(algorithm)
    (issuer, revoked) = try Self.body(fields)
  }

  /// version OPTIONAL, signature, issuer, thisUpdate, nextUpdate OPTIONAL, revoked OPTIONAL,
  /// [0] extensions OPTIONAL.
  private static func body(
    _ fields: ASN1NodeCollection
  ) throws -> (issuer: DistinguishedName, revoked: Set<[UInt8]>) {
    var nodes = Array(fields)[...]
    if nodes.first?.identifier == .integer { nodes.removeFirst() }
    guard nodes.count >= 3 else { throw RevocationList.Unusable(reason: "it is cut short") }
    let issuer = try DistinguishedName(derEncoded: nodes[nodes.startIndex + 1])
    nodes = nodes.dropFirst(3)
    if let next = nodes.first?.identifier, next == .utcTime || next == .generalizedTime {
      nodes.removeFirst()
    }
    guard let entries = nodes.first, entries.identifier == .sequence else { return (issuer, []) }
    guard case .constructed(let list) = entries.content else {
      throw RevocationList.Unusable(reason: "its list of certificates is none")
    }
    var revoked: Set<[UInt8]> = []
    for entry in list {
      guard case .constructed(let parts) = entry.content,
        let serial = parts.first(where: { _ in true }), serial.identifier == .integer,
        case .primitive(let bytes) = serial.content
      else { throw RevocationList.Unusable(reason: "an entry has no serial number") }
      revoked.insert(RevocationList.trimmed(bytes))
    }
    return (issuer, revoked)
  }

  private static func algorithm(_ node: ASN1Node) throws -> Certificate.SignatureAlgorithm? {
    guard case .constructed(let parts) = node.content, let first = parts.first(where: { _ in true })
    else { throw RevocationList.Unusable(reason: "its signature has no algorithm") }
    return switch try ASN1ObjectIdentifier(derEncoded: first) {
    case [1, 2, 840, 10045, 4, 3, 2]: .ecdsaWithSHA256
    case [1, 2, 840, 10045, 4, 3, 3]: .ecdsaWithSHA384
    case [1, 2, 840, 10045, 4, 3, 4]: .ecdsaWithSHA512
    case [1, 2, 840, 113549, 1, 1, 11]: .sha256WithRSAEncryption
    case [1, 2, 840, 113549, 1, 1, 12]: .sha384WithRSAEncryption
    case [1, 2, 840, 113549, 1, 1, 13]: .sha512WithRSAEncryption
    case [1, 3, 101, 112]: .ed25519
    default: nil
    }
  }
}
