import MartletClient
import Testing

// begin
func follow(
  _ range: KeyRange,
  of client: Client,
  _ apply: (KeyValue) async -> Void
) async throws {
  while true {
    let state = try await client.kv.range(range)
    for keyValue in state.keyValues { await apply(keyValue) }
    do throws(ClientError) {
      let options = WatchOptions(startRevision: state.header.revision + 1)
      let watch = try await client.watch(range, options)
      for try await event in watch { await apply(event.keyValue) }
    } catch {
      guard error.code == .compacted else { throw error }
    }
  }
}
// end

/// The examples of `Watching.md`, between the marks.
enum WatchingArticle {
  static func run(_ client: Client, _ print: Printer) async throws {
    // begin
    let watch = try await client.watch(.prefix("account/"))
    try await client.kv.commit(
      Transaction().then(.put("account/a", "90"), .put("account/b", "110"))
    )
    for try await batch in watch.batches {
      let changes = batch.events.map { "\($0.keyValue.keyText)=\($0.keyValue.text)" }
      print(batch.revision, changes.joined(separator: " "))
      break
    }
    // end

    // begin
    let deletions = try await client.watch(
      .prefix("session/"),
      WatchOptions(includesPrevious: true, only: .delete)
    )
    try await client.kv.put("session/1", "alice")
    try await client.kv.delete("session/1")
    for try await event in deletions {
      print(event.previous?.text ?? "?", "has left")
      break
    }
    // end

    try await compaction(client, print)
  }

  private static func compaction(_ client: Client, _ print: Printer) async throws {
    try await client.kv.put("follow/a", "1")
    let following = Task {
      try await follow(.prefix("follow/"), of: client) { print("followed", $0.text) }
    }
    try await eventually { print.lines.last == "followed 1" }
    try await client.kv.put("follow/a", "2")
    try await eventually { print.lines.last == "followed 2" }
    following.cancel()
    await expectFailure(.canceled) { try await following.value }
  }
}
