import MartletClient
import Testing

/// The examples of `Transactions.md`, between the marks.
enum TransactionsArticle {
  static func run(_ client: Client, _ print: Printer) async throws {
    try await claim(client, print)
    // And again, in vain.
    try await claim(client, print)
    try await increment(client)
    try await client.kv.put("account/a", "60")
    try await client.kv.put("account/b", "40")

    // begin
    let sum = try await client.transact { store in
      let from = Int(try await store.text("account/a") ?? "0") ?? 0
      let to = Int(try await store.text("account/b") ?? "0") ?? 0
      store.put("account/a", "\(from - 10)")
      store.put("account/b", "\(to + 10)")
      return from + to
    }
    // end

    #expect(sum == 100)
    #expect(try await client.kv.get("account/b")?.text == "50")
    try await client.kv.put("template", "page")

    // begin
    try await client.transact(isolation: .snapshot) { store in
      let template = try await store.text("template") ?? ""
      store.put("page/1", template + " one")
    }
    // end

    #expect(try await client.kv.get("page/1")?.text == "page one")
  }

  private static func claim(_ client: Client, _ print: Printer) async throws {
    // begin
    let claim = Transaction()
      .if(.isMissing("task/7/owner"))
      .then(.put("task/7/owner", "worker-1"), .put("task/7/state", "running"))
      .else(.get("task/7/owner"))
    let result = try await client.kv.commit(claim)
    if !result.succeeded {
      print("taken by", result.keyValues(at: 0).first?.text ?? "nobody")
    }
    // end
  }

  private static func increment(_ client: Client) async throws {
    // begin
    let current = try await client.kv.get("counter")
    let increment = Transaction()
      .if(.modRevision(of: "counter", .equal, current?.modRevision ?? 0))
      .then(.put("counter", "\((Int(current?.text ?? "0") ?? 0) + 1)"))
    let succeeded = try await client.kv.commit(increment).succeeded
    // end

    #expect(succeeded)
  }
}
