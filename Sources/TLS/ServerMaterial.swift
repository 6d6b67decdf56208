import NIOSSL
import SwiftASN1
import X509

/// The files of `TLSSettings`, read and put together: what new connections use until it is replaced.
final class ServerMaterial: Sendable {
  let context: NIOSSLContext
  let check: ClientCheck
  /// Something about the files that the operator should know.
  let notes: [String]
  /// The end of the server's certificate, in seconds since 1970.
  let notValidAfter: Int

  /// What the client and the server may speak once TLS stands.
  static let protocols = ["h2", "http/1.1"]

  /// Reads all files. Throws what is wrong with the first that is not as it should be.
  init(_ settings: TLSSettings) throws(TLSError) {
    let chain = try Self.certificates(settings.certificateFile)
    let key = try Self.key(settings.keyFile)
    guard let leaf = chain.first else {
      throw .badCertificate(file: settings.certificateFile, reason: "no certificate in it")
    }
    var configuration = TLSConfiguration.makeServerConfiguration(
      certificateChain: chain.map { .certificate($0) },
      privateKey: .privateKey(key)
    )
    configuration.applicationProtocols = Self.protocols
    settings.apply(to: &configuration)
    var authorities: [Certificate] = []
    if !settings.authoritiesFile.isEmpty {
      let roots = try Self.authorities(settings.authoritiesFile)
      configuration.trustRoots = .certificates(roots)
      // Such as the system's other library cannot read are of no use to check a list with.
      authorities = roots.compactMap { try? Certificate(derEncoded: $0.toDERBytes()) }
    }
    if settings.requiresClientCertificate {
      configuration.certificateVerification = .noHostnameVerification
      configuration.sendCANameList = !settings.authoritiesFile.isEmpty
    }
    var check = ClientCheck()
    check.allowedHostNames = settings.allowedHostNames
    check.allowedCommonName = settings.allowedCommonName
    check.checksAddresses = settings.checksAddresses
    var notes: [String] = []
    if !settings.revocationFile.isEmpty {
      let list = try Self.revocationList(settings.revocationFile, authorities)
      if !list.isVerified {
        notes.append("the revocation list's signature could not be checked against an authority")
      }
      check.revoked = list
    }
    do {
      context = try NIOSSLContext(configuration: configuration)
    } catch {
      throw FailureText.isMismatch(error)
        ? .mismatch(certificateFile: settings.certificateFile, keyFile: settings.keyFile)
        : .failed("\(settings.certificateFile), \(settings.keyFile): \(FailureText.text(error))")
    }
    notValidAfter = leaf.notValidAfter
    self.check = check
    self.notes = notes
  }

  static func certificates(_ file: String) throws(TLSError) -> [NIOSSLCertificate] {
    let bytes = try TLSFiles.content(of: file, bytesMax: TLSFiles.certificateBytesMax)
    do {
      return try NIOSSLCertificate.fromPEMBytes(bytes)
    } catch {
      throw .badCertificate(file: file, reason: FailureText.text(error))
    }
  }

  static func authorities(_ file: String) throws(TLSError) -> [NIOSSLCertificate] {
    let bytes = try TLSFiles.content(of: file, bytesMax: TLSFiles.certificateBytesMax)
    do {
      return try NIOSSLCertificate.fromPEMBytes(bytes)
    } catch {
      throw .badAuthorities(file: file, reason: FailureText.text(error))
    }
  }

  static func key(_ file: String) throws(TLSError) -> NIOSSLPrivateKey {
    let bytes = try TLSFiles.content(of: file, bytesMax: TLSFiles.certificateBytesMax)
    do {
      return try NIOSSLPrivateKey(bytes: bytes, format: .pem)
    } catch {
      throw .badKey(file: file, reason: FailureText.text(error))
    }
  }

  private static func revocationList(
    _ file: String,
    _ authorities: [Certificate]
  ) throws(TLSError) -> RevocationList {
    let bytes = try TLSFiles.content(of: file, bytesMax: TLSFiles.revocationBytesMax)
    do {
      return try RevocationList(bytes, authorities: authorities)
    } catch {
      throw .badRevocationList(file: file, reason: error.reason)
    }
  }
}
