import MartletClient
import Testing

// begin
func record(_ id: String, _ value: String, with client: Client) async throws {
  let creation = Transaction().if(.isMissing("event/\(id)")).then(.put("event/\(id)", value))
  while true {
    do throws(ClientError) {
      try await client.kv.commit(creation)
      return
    } catch {
      guard error.outcome != .refused else { throw error }
      // Written or not: the condition keeps it from being written twice.
      try await Task.sleep(for: .milliseconds(100))
    }
  }
}
// end

/// The examples of `ErrorsAndRetries.md`, between the marks.
enum ErrorsAndRetriesArticle {
  static func run(_ client: Client, _ print: Printer) async throws {
    try await record("1", "first", with: client)
    try await record("1", "second", with: client)
    #expect(try await client.kv.get("event/1")?.text == "first")

    // begin
    let impatient = client.kv.withDeadline(.milliseconds(500))
    do throws(ClientError) {
      try await impatient.put("heartbeat", "1")
    } catch {
      guard error.code == .deadlineExceeded else { throw error }
      print(error.outcome == .unknown ? "perhaps written" : "not written")
    }
    // end
  }
}
