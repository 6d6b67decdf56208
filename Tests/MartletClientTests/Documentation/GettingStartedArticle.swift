import MartletClient
import Testing

/// The examples of `GettingStarted.md`, between the marks.
enum GettingStartedArticle {
  static func run(_ endpoints: [String], _ print: Printer) async throws {
    // begin
    let client = try Client(endpoints: endpoints)
    // end

    // begin
    let first = try await client.kv.put("config/colour", "blue")
    try await client.kv.put("config/colour", "green")

    let now = try await client.kv.get("config/colour")
    print(now?.text ?? "none")

    let then = try await client.kv.get("config/colour", RangeOptions(revision: first.revision))
    print(then?.text ?? "none")
    // end

    // begin
    struct Job: Codable, Equatable {
      var name: String
      var attempts: Int
    }

    try await client.kv.put("jobs/7", encoding: Job(name: "report", attempts: 0))
    let job = try await client.kv.get("jobs/7", as: Job.self)
    // end

    #expect(job == Job(name: "report", attempts: 0))

    // begin
    let settings = try await client.kv.range(.prefix("config/"))
    for setting in settings.keyValues {
      print(setting.keyText, "=", setting.text)
    }
    // end

    // begin
    let state = try await client.kv.range(.prefix("config/"))
    let watch = try await client.watch(
      .prefix("config/"),
      WatchOptions(startRevision: state.header.revision + 1)
    )
    try await client.kv.put("config/colour", "red")
    for try await event in watch {
      print(event.kind, event.keyValue.keyText, event.keyValue.text)
      break
    }
    // end

    // begin
    try await client.withLock("locks/nightly", ttl: .seconds(10)) { lock in
      let done = Transaction().then(.put("nightly/last", "today"))
      try await client.kv.commit(lock.guarded(done))
    }
    // end

    #expect(try await client.kv.get("nightly/last")?.text == "today")

    // begin
    await client.close()
    // end
  }
}
