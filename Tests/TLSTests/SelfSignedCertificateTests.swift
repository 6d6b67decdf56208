import Foundation
import SwiftASN1
import TLS
import Testing
import X509

@Suite struct SelfSignedCertificateTests {
  private func read(_ files: SelfSignedCertificate.Files) throws -> Certificate {
    try Certificate(pemEncoded: String(contentsOfFile: files.certificate, encoding: .utf8))
  }

  @Test func isMadeOnceAndKept() throws {
    let folder = try Folder()
    let directory = "\(folder.path)/fixtures/client"
    let hosts = ["127.0.0.1", "localhost", "::1"]
    let now = Date()
    let made = try SelfSignedCertificate.ensure(in: directory, hosts: hosts, validityYears: 2)
    #expect(made.isNew)
    #expect(made.certificate == "\(directory)/cert.pem")
    #expect(made.key == "\(directory)/key.pem")
    let mode = try FileManager.default.attributesOfItem(atPath: made.key)[.posixPermissions]
    #expect(mode as? Int == 0o600)
    let certificate = try read(made)
    let names = try #require(try certificate.extensions.subjectAlternativeNames)
    #expect(names.contains(.dnsName("localhost")))
    #expect(names.contains(.ipAddress(ASN1OctetString(contentBytes: [127, 0, 0, 1]))))
    #expect(names.count == 3)
    let days = certificate.notValidAfter.timeIntervalSince(now) / 86_400
    #expect((729...731).contains(days), "\(days)")

    let kept = try SelfSignedCertificate.ensure(in: directory, hosts: hosts, validityYears: 1)
    #expect(!kept.isNew)
    #expect(try read(kept) == certificate)
    let fewer = try SelfSignedCertificate.ensure(in: directory, hosts: ["::1"], validityYears: 1)
    #expect(!fewer.isNew)
  }

  @Test func isMadeAnewWhenItIsOfNoUse() throws {
    let folder = try Folder()
    let ensure = { (hosts: [String], now: Date) in
      try SelfSignedCertificate.ensure(
        in: folder.path,
        hosts: hosts,
        validityYears: 1,
        now: now
      )
    }
    let now = Date()
    #expect(try ensure(["localhost"], now).isNew)
    #expect(!(try ensure(["localhost"], now + 364 * 86_400).isNew))
    #expect(try ensure(["localhost"], now + 366 * 86_400).isNew, "expired")
    #expect(try ensure(["localhost"], now).isNew, "not valid yet")
    #expect(try ensure(["localhost", "10.0.0.1"], now).isNew, "another host")
    try folder.write("key.pem", "nonsense")
    #expect(try ensure(["localhost"], now).isNew, "the key is broken")
    let other = try Authority().issue("other")
    try folder.write("key.pem", try other.keyPEM)
    let made = try ensure(["localhost"], now)
    #expect(made.isNew, "the key is another one")
    try FileManager.default.removeItem(atPath: made.certificate)
    #expect(try ensure(["localhost"], now).isNew, "the certificate is gone")
    #expect(!(try ensure(["localhost"], now).isNew))
  }

  @Test func allInterfacesMeanThisMachine() throws {
    let folder = try Folder()
    let made = try SelfSignedCertificate.ensure(
      in: folder.path,
      hosts: ["0.0.0.0"],
      validityYears: 1
    )
    let names = try #require(try read(made).extensions.subjectAlternativeNames)
    #expect(names.contains(.dnsName("localhost")))
    #expect(names.contains(.ipAddress(ASN1OctetString(contentBytes: [127, 0, 0, 1]))))
  }

  @Test func aDirectoryThatCannotBeMadeIsSaid() throws {
    let folder = try Folder()
    try folder.write("file", "x")
    let error = #expect(throws: TLSError.self) {
      try SelfSignedCertificate.ensure(
        in: "\(folder.path)/file/client",
        hosts: [],
        validityYears: 1
      )
    }
    #expect("\(String(describing: error))".contains("file"))
  }
}
