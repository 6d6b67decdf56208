import MartletClient
import Synchronization
import Testing

/// The examples of `LocksAndElections.md`, between the marks.
enum LocksAndElectionsArticle {
  /// A resource that turns away holders whose time is over.
  private final class Archive: Sendable {
    private let largest = Mutex<Int64>(0)

    func write(_ name: String, token: Int64) {
      largest.withLock { largest in
        #expect(token >= largest)
        largest = token
      }
    }
  }

  static func run(_ client: Client, _ print: Printer) async throws {
    let archive = Archive()

    // begin
    try await client.withLease(ttl: .seconds(10)) { lease in
      try await client.kv.put("workers/7", "10.0.0.7:80", lease: lease.id)
      // Work. When the lease is lost, this task is cancelled.
    }
    // end

    #expect(try await client.kv.get("workers/7") == nil)

    // begin
    try await client.withLock("locks/ledger", ttl: .seconds(10)) { lock in
      let entry = Transaction().then(.put("ledger/1", "paid"))
      let result = try await client.kv.commit(lock.guarded(entry))
      if !result.succeeded { print("the lock was lost, and nothing was written") }
    }
    // end

    #expect(try await client.kv.get("ledger/1")?.text == "paid")

    // begin
    let token = try await client.withLock("locks/archive") { lock in
      archive.write("report", token: lock.fencingToken)
      return lock.fencingToken
    }
    // end

    #expect(token > 0)

    // begin
    try await client.withLeadership(of: "scheduler", value: "host-1") { leadership in
      try await leadership.proclaim("host-1, busy")
      let step = Transaction().then(.put("schedule/next", "42"))
      try await client.kv.commit(leadership.guarded(step))
    }
    // end

    #expect(try await client.kv.get("schedule/next")?.text == "42")
    try await observe(client, print)
  }

  private static func observe(_ client: Client, _ print: Printer) async throws {
    try await client.withLeadership(of: "scheduler", value: "host-2") { _ in
      // begin
      for try await leader in client.elections.observe("scheduler") {
        print("led by", leader.text)
        break
      }
      // end
    }
  }
}
