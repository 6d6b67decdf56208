import TLS
import Testing

/// What Go's VerifyHostname says of the same.
@Suite struct HostNamesTests {
  @Test(arguments: [
    ("a.example.com", "a.example.com", true),
    ("a.example.com", "A.Example.COM", true),
    ("A.example.com", "a.example.com", true),
    ("a.example.com", "a.example.com.", true),
    ("a.example.com", "b.example.com", false),
    ("a.example.com", "x.a.example.com", false),
    ("a.example.com", "example.com", false),
    ("*.example.com", "a.example.com", true),
    ("*.example.com", "a.b.example.com", false),
    ("*.example.com", "example.com", false),
    ("*.example.com", ".example.com", false),
    ("a*.example.com", "ab.example.com", false),
    ("x.*.com", "x.example.com", false),
    ("*", "localhost", false),
    ("*.*.com", "a.b.com", false),
    ("localhost", "localhost", true),
    ("127.0.0.1", "127.0.0.1", false),
    ("", "", false),
    ("a..b", "a..b", false),
    ("host", "", false),
  ])
  func names(pattern: String, host: String, isCovered: Bool) {
    #expect(HostNames(names: [pattern]).cover(host) == isCovered)
  }

  @Test func addresses() throws {
    let four = try #require(HostNames.address("10.1.2.3"))
    #expect(four == [10, 1, 2, 3])
    let six = try #require(HostNames.address("[fe80::1]"))
    #expect(six.count == 16)
    let hosts = HostNames(names: ["*.example.com"], addresses: [four, six])
    for host in ["10.1.2.3", "fe80::1", "[fe80::1]", "FE80:0::1", "::ffff:10.1.2.3"] {
      #expect(hosts.cover(host), "\(host)")
    }
    for host in ["10.1.2.4", "fe80::2", "10.1.2.3.", "010.1.2.3", "[10.1.2.3", ""] {
      #expect(!hosts.cover(host), "\(host)")
    }
    #expect(HostNames.address("localhost") == nil)
  }
}
