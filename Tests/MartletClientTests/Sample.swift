import MartletClient

/// The program of the README, between the marks; `SampleTests` runs it.
enum Sample {
  static func main(
    _ endpoints: [String],
    _ print: @escaping @Sendable (String) -> Void
  ) async throws {
    // begin
    let client = try Client(endpoints: endpoints)

    // Keys and values.
    try await client.kv.put("greeting", "hello")
    print(try await client.kv.get("greeting")?.text ?? "nothing")

    // Everything that happens to keys with a prefix, from now on, across reconnections.
    let watch = try await client.watch(.prefix("jobs/"))
    let watcher = Task {
      for try await event in watch {
        print("\(event.kind) \(event.keyValue.keyText) = \(event.keyValue.text)")
        if event.key == Array("jobs/done".utf8) { break }
      }
    }

    // A transaction.
    let claim = Transaction()
      .if(.isMissing("jobs/1"))
      .then(.put("jobs/1", "mine"))
      .else(.get("jobs/1"))
    print(try await client.kv.commit(claim).succeeded ? "claimed" : "taken")

    // A lock, kept alive by a lease; guarded writes fail if it was lost in the meantime.
    try await client.withLock("locks/jobs", ttl: .seconds(10)) { lock in
      try await client.kv.commit(lock.guarded(Transaction().then(.put("jobs/done", "yes"))))
    }

    try await watcher.value
    await client.close()
    // end
  }
}
