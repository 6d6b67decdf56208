import Membership
import Testing

@Suite("Server URLs")
struct ServerURLTests {
  @Test(
    "canonical form",
    arguments: [
      ("http://localhost:2380", "http://localhost:2380", "localhost", UInt16(2380)),
      (" http://127.0.0.1:0 ", "http://127.0.0.1:0", "127.0.0.1", 0),
      ("HTTPS://a.example:65535", "https://a.example:65535", "a.example", 65535),
      ("http://[::1]:2379", "http://[::1]:2379", "::1", 2379),
      ("http://:2379", "http://:2379", "", 2379),
      ("unix:///run/martlet.sock", "unix:///run/martlet.sock", "/run/martlet.sock", 0),
      ("unixs://host:1", "unixs://host:1", "host:1", 0),
    ]
  )
  func reads(text: String, canonical: String, host: String, port: UInt16) throws {
    let url = try ServerURL(text)
    #expect(url.description == canonical)
    #expect(url.host == host)
    #expect(url.port == port)
  }

  @Test(
    "refused",
    arguments: [
      ("", ServerURLError.empty),
      ("  ", .empty),
      ("localhost:2379", .badScheme("localhost:2379")),
      ("ftp://a:1", .badScheme("ftp://a:1")),
      ("http:/a:1", .badScheme("http:/a:1")),
      ("http://a", .noPort("http://a")),
      ("http://[::1]", .noPort("http://[::1]")),
      ("http://a:", .badPort("http://a:")),
      ("http://a:65536", .badPort("http://a:65536")),
      ("http://a:-1", .badPort("http://a:-1")),
      ("http://a:+1", .badPort("http://a:+1")),
      ("http://::1:2379", .badHost("http://::1:2379")),
      ("http://[a]:1", .badHost("http://[a]:1")),
      ("http://a:1/", .hasPath("http://a:1/")),
      ("http://a:1/v3", .hasPath("http://a:1/v3")),
      ("http://u@a:1", .hasExtras("http://u@a:1")),
      ("http://a:1?x", .hasExtras("http://a:1?x")),
      ("unix://", .noSocketPath("unix://")),
      ("http://a b:1", .badCharacter("http://a b:1")),
      ("http://a\u{0}:1", .badCharacter("http://a\u{0}:1")),
      ("http://" + String(repeating: "a", count: 5000) + ":1", .tooLong),
    ]
  )
  func refuses(text: String, error: ServerURLError) {
    #expect(throws: error) { try ServerURL(text) }
    #expect(!error.description.isEmpty)
  }

  @Test("lists are sorted and free of duplicates")
  func lists() throws {
    let urls = try ServerURL.list("http://b:1, http://a:1,HTTP://b:1")
    #expect(urls.map(\.description) == ["http://a:1", "http://b:1"])
    #expect(throws: ServerURLError.empty) { try ServerURL.list(",") }
  }

  @Test("kind of address")
  func kinds() throws {
    #expect(try ServerURL("https://a:1").isSecure)
    #expect(try !ServerURL("http://a:1").isSecure)
    #expect(try ServerURL("unix://x").isUnixSocket)
    #expect(try !ServerURL("http://a:1").isUnixSocket)
  }
}

@Suite("--initial-cluster")
struct InitialClusterTests {
  @Test("a name may come several times, the result is sorted")
  func reads() throws {
    let cluster = try InitialCluster("b=http://b:1,a=http://a:2, a=http://a:1,")
    #expect(cluster.description == "a=http://a:1,a=http://a:2,b=http://b:1")
    #expect(cluster.entries.map(\.name) == ["a", "b"])
    #expect(cluster["a"]?.peerURLs.count == 2)
    #expect(cluster["c"] == nil)
  }

  @Test(
    "refused",
    arguments: [
      ("", InitialClusterError.empty),
      (",,", .empty),
      ("http://a:1", .noName("http://a:1")),
      ("=http://a:1", .noName("=http://a:1")),
      ("a=http://a", .badURL(name: "a", .noPort("http://a"))),
      ("a=", .badURL(name: "a", .empty)),
      ("a=http://a:1,b=http://a:1", .duplicateURL("http://a:1")),
      ("a=http://a:1,a=http://a:1", .duplicateURL("http://a:1")),
      ((0..<65).map { "m\($0)=http://a:\($0)" }.joined(separator: ","), .tooManyMembers),
    ]
  )
  func refuses(text: String, error: InitialClusterError) {
    #expect(throws: error) { try InitialCluster(text) }
    #expect(!error.description.isEmpty)
  }
}
