import NIOSSL
import TLS
import Testing

@Suite struct CipherSuiteTests {
  @Test func goNamesAreKnown() throws {
    for name in [
      "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
      "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "TLS_RSA_WITH_AES_128_CBC_SHA",
      "TLS_AES_128_GCM_SHA256",
    ] {
      #expect(try CipherSuite(named: name).name == name)
    }
  }

  @Test func othersAreRefusedByName() {
    #expect(throws: TLSError.unknownCipherSuite("NOPE")) { try CipherSuite(named: "NOPE") }
    #expect(throws: TLSError.unknownCipherSuite("")) { try CipherSuite(named: "") }
    let broken = "TLS_RSA_WITH_RC4_128_SHA"
    #expect(throws: TLSError.unsupportedCipherSuite(broken)) { try CipherSuite(named: broken) }
    #expect("\(TLSError.unknownCipherSuite("NOPE"))" == #"unexpected TLS cipher suite "NOPE""#)
  }

  @Test func versionsAndSuitesMustFit() throws {
    var settings = TLSSettings(certificateFile: "c", keyFile: "k")
    try settings.check()
    settings.oldestVersion = .tls13
    try settings.check()
    settings.newestVersion = .tls12
    #expect(throws: TLSError.badVersions(oldest: "TLS1.3", newest: "TLS1.2")) {
      try settings.check()
    }
    settings.newestVersion = .tls13
    settings.cipherSuites = [try CipherSuite(named: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")]
    #expect(throws: TLSError.self, "nothing to choose in TLS 1.3") { try settings.check() }
    settings.oldestVersion = .tls12
    try settings.check()
    settings.newestVersion = .tls12
    try settings.check()
    settings.cipherSuites = [try CipherSuite(named: "TLS_AES_128_GCM_SHA256")]
    #expect(throws: TLSError.self, "a suite of TLS 1.3 alone") { try settings.check() }
  }
}
