import Logging
import MartletClient
import MartletServer

/// The programs of Sources/Guides/swift-client.md, between the marks; `GuideSamplesTests` runs them,
/// and Tests/crosslang/test_guides.py compares them with the guide.
struct GuideSamples {
  let client: Client
  let print: @Sendable (String) -> Void

  static func connect() throws -> Client {
    // begin
    var configuration = ClientConfiguration(endpoints: [
      "https://10.0.0.1:2379", "https://10.0.0.2:2379", "https://10.0.0.3:2379",
    ])
    configuration.tls = ClientConfiguration.TLS(
      authoritiesFile: "certs/ca.crt",
      certificateFile: "certs/alice.crt",
      keyFile: "certs/alice.key"
    )
    configuration.credentials = ClientConfiguration.Credentials(
      username: "bob",
      password: "bobs-password"
    )
    configuration.deadline = .seconds(5)
    configuration.memberSyncInterval = .seconds(60)
    let client = try Client(configuration)
    // end
    return client
  }

  static func embedded(_ temporaryDirectory: String) async throws {
    // begin
    var configuration = ServerConfiguration()
    configuration.dataDirectory = temporaryDirectory
    configuration.listenClientURLs = ["http://127.0.0.1:0"]
    configuration.listenPeerURLs = ["http://127.0.0.1:0"]
    let member = try await EmbeddedMember.start(configuration, logger: Logger(label: "member"))
    let client = try Client(endpoints: member.clientAddresses.map { "http://\($0)" })
    try await client.kv.put("greeting", "hello")
    await client.close()
    await member.stop()
    // end
  }

  func keys() async throws {
    // begin
    try await client.kv.put("shop/apples", "12")
    try await client.kv.put("shop/pears", "3")

    if let apples = try await client.kv.get("shop/apples") {
      print("\(apples.text) apples, changed at revision \(apples.modRevision)")
    }

    let shop = try await client.kv.range(.prefix("shop/"))
    for pair in shop.keyValues { print("\(pair.keyText) = \(pair.text)") }

    // As many keys as there are, read in parts, all of one revision.
    for try await pair in client.kv.stream(.prefix("shop/")) { print(pair.keyText) }

    // As it was before.
    let before = RangeOptions(revision: shop.header.revision - 1)
    print("\(try await client.kv.count(.prefix("shop/"), before)) key")

    try await client.kv.delete(.prefix("shop/"))
    // end
  }

  func codable() async throws {
    // begin
    struct Order: Codable {
      var item: String
      var count: Int
    }

    try await client.kv.put("orders/1", encoding: Order(item: "apples", count: 3))
    let order = try await client.kv.get("orders/1", as: Order.self)
    print(order?.item ?? "no order")
    // end
  }

  func transactions() async throws {
    // begin
    // Said in full: if nobody has it, take it, or see who has.
    let claim = Transaction()
      .if(.isMissing("jobs/1"))
      .then(.put("jobs/1", "mine"))
      .else(.get("jobs/1"))
    print(try await client.kv.commit(claim).succeeded ? "claimed" : "taken")

    // As a program: it runs again when others write what it has read.
    try await client.transact { store in
      let count = Int(try await store.text("count") ?? "0") ?? 0
      store.put("count", "\(count + 1)")
    }
    // end
  }

  func watch() async throws {
    // begin
    // What is there, and then everything that happens to it: nothing is missed in between.
    let present = try await client.kv.range(.prefix("config/"))
    let changes = try await client.watch(
      .prefix("config/"),
      WatchOptions(startRevision: present.header.revision + 1)
    )
    try await client.kv.put("config/colour", "blue")
    try await client.kv.delete("config/colour")

    for try await event in changes {
      switch event.kind {
      case .put: print("\(event.keyValue.keyText) is \(event.keyValue.text)")
      case .delete: print("\(event.keyValue.keyText) is gone")
      }
      if event.kind == .delete { break }
    }
    // end
  }

  func leases() async throws {
    // begin
    // The key is there as long as the closure runs and this program lives.
    try await client.withLease(ttl: .seconds(10)) { lease in
      try await client.kv.put("services/web", "10.0.0.7:80", lease: lease.id)
      print("serving")
    }
    print("\(try await client.kv.count(.prefix("services/"))) services")
    // end
  }

  func locks() async throws {
    // begin
    try await client.withLock("locks/report", ttl: .seconds(10)) { lock in
      // Written only while the lock is held, even if this program slept past its lease.
      let write = lock.guarded(Transaction().then(.put("report", "mine")))
      print(try await client.kv.commit(write).succeeded ? "written" : "lost the lock")
    }

    try await client.withLeadership(of: "shop", value: "this machine", ttl: .seconds(10)) {
      office in
      print("leading, token \(office.fencingToken > 0 ? "at hand" : "missing")")
    }
    // end
  }

  func errors() async throws {
    // begin
    do throws(ClientError) {
      try await client.kv.update("no such key", "value")
    } catch {
      switch error.outcome {
      case .notDone: print("had no effect, try again")
      case .refused: print("refused: \(error.code)")
      case .unknown: print("may have happened: read before writing again")
      }
    }
    // end
  }

  func namespaces() async throws {
    // begin
    let app = client.namespace("app/")
    try await app.kv.put("colour", "red")
    print(try await client.kv.get("app/colour")?.text ?? "nothing")
    // end
  }
}
