import MartletClient
import Synchronization
import Testing

@Suite struct CoordinationTests {
  @Test(arguments: ServerKind.available)
  func aLockHasOneHolderAtATime(server: ServerKind) async throws {
    try await server.withClient { client in
      let inside = Room()
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<4 {
          group.addTask {
            for _ in 0..<3 {
              try await client.withLock("lock") { lock in
                #expect(inside.enter() == 1)
                inside.note(lock.fencingToken)
                let value = Int(try await client.kv.get("count")?.text ?? "0") ?? 0
                let result = try await client.kv.commit(
                  lock.guarded(Transaction().then(.put("count", "\(value + 1)")))
                )
                #expect(result.succeeded)
                inside.leave()
              }
            }
          }
        }
        try await group.waitForAll()
      }
      #expect(try await client.kv.get("count")?.text == "12")
      let order = inside.tokens
      #expect(order.count == 12 && order == order.sorted() && Set(order).count == 12)
      #expect(try await client.kv.count(.prefix("lock")) == 0)
    }
  }

  /// Where only one may be at a time.
  final class Room: Sendable {
    private let state = Mutex<(count: Int, tokens: [Int64])>((0, []))
    var tokens: [Int64] { state.withLock { $0.tokens } }

    /// Returns how many are in.
    func enter() -> Int {
      state.withLock {
        $0.count += 1
        return $0.count
      }
    }

    func leave() {
      state.withLock { $0.count -= 1 }
    }

    func note(_ token: Int64) {
      state.withLock { $0.tokens.append(token) }
    }
  }

  /// A holder who was paused past the end of its lease, and does not know, writes nothing.
  @Test(arguments: ServerKind.available)
  func aHolderPausedPastItsLeaseCannotWrite(server: ServerKind) async throws {
    try await server.withClient { client in
      let first = try await client.leases.grant(ttl: .seconds(60)).id
      let old = try await client.locks.lock("lock", lease: first)
      // The pause: the lease ends without the holder's doing, and another takes the lock.
      try await client.leases.revoke(first)
      try await client.withLock("lock") { new in
        #expect(new.fencingToken > old.fencingToken)
        let late = try await client.kv.commit(
          old.guarded(Transaction().then(.put("data", "old")).else(.get("data")))
        )
        #expect(!late.succeeded)
        let timely = try await client.kv.commit(
          new.guarded(Transaction().then(.put("data", "new")))
        )
        #expect(timely.succeeded)
      }
      #expect(try await client.kv.get("data")?.text == "new")
      let late = try await client.kv.commit(old.guarded(Transaction().then(.delete("data"))))
      #expect(!late.succeeded)
    }
  }

  @Test func aLockIsLockedAgainByTheSameLeaseAndUnlocked() async throws {
    try await withMartlet { client in
      let app = client.namespace("app/")
      let lease = try await client.leases.grant(ttl: .seconds(60)).id
      let lock = try await app.locks.lock("lock", lease: lease)
      #expect(try await app.locks.lock("lock", lease: lease) == lock)
      #expect(try await app.kv.commit(lock.guarded(Transaction())).succeeded)
      try await app.locks.unlock(lock)
      #expect(try await app.kv.commit(lock.guarded(Transaction())).succeeded == false)
      let gone = LeaseID(rawValue: 99)
      await expectFailure(.leaseNotFound) { _ = try await app.locks.lock("lock", lease: gone) }
    }
  }

  /// Waiting survives the loss of the connection on which one waits.
  @Test func waitingForALockSurvivesABrokenConnection() async throws {
    try await withMember { _, target in
      try await withProxies(1, to: target) { proxies in
        try await withClient([target]) { other in
          try await withClient([proxies[0].address]) { client in
            let lease = try await other.leases.grant(ttl: .seconds(60)).id
            let lock = try await other.locks.lock("lock", lease: lease)
            async let waited = client.withLock("lock") { $0.fencingToken }
            try await eventually { try await other.kv.count(.prefix("lock/")) == 2 }
            let accepted = proxies[0].acceptCount
            proxies[0].cut()
            try await eventually { proxies[0].acceptCount > accepted }
            try await eventually { try await other.kv.count(.prefix("lock/")) == 2 }
            try await other.locks.unlock(lock)
            #expect(try await waited > lock.fencingToken)
          }
        }
      }
    }
  }

  @Test(arguments: ServerKind.available)
  func electionsHaveOneLeaderWhomOthersSee(server: ServerKind) async throws {
    try await server.withClient { client in
      let seen = Seen()
      let observer = Task {
        for try await leader in client.elections.observe("chair") { seen.add(leader.text) }
      }
      let (first, next) = try await client.withLeadership(of: "chair", value: "alice") { alice in
        try await eventually { seen.last == "alice" }
        let next = Task {
          try await client.withLeadership(of: "chair", value: "bob") { bob in
            try await eventually { seen.last == "bob" }
            let result = try await client.kv.commit(
              bob.guarded(Transaction().then(.put("acts", "bob")))
            )
            #expect(result.succeeded)
            return bob.fencingToken
          }
        }
        try await eventually { try await client.kv.count(.prefix("chair/")) == 2 }
        try await alice.proclaim("alice again")
        #expect(try await client.elections.leader(of: "chair").text == "alice again")
        try await eventually { seen.last == "alice again" }
        return (alice.fencingToken, next)
      }
      #expect(try await next.value > first)
      observer.cancel()
      await expectFailure(.canceled) { try await observer.value }
      #expect(seen.all == ["alice", "alice again", "bob"])
      await expectFailure(.other) { _ = try await client.elections.leader(of: "chair") }
    }
  }

  /// What an observer has been told.
  final class Seen: Sendable {
    private let texts = Mutex<[String]>([])
    var all: [String] { texts.withLock { $0 } }
    var last: String? { all.last }
    func add(_ text: String) { texts.withLock { $0.append(text) } }
  }

  @Test func anObserverGoesOnAfterABreak() async throws {
    try await withMember { _, target in
      try await withProxies(1, to: target) { proxies in
        try await withClient([target]) { other in
          try await withClient([proxies[0].address]) { client in
            let lease = try await other.leases.grant(ttl: .seconds(60)).id
            let elections = other.elections
            let chair = try await elections.campaign("chair", value: "1", lease: lease)
            var leaders = client.elections.observe("chair").makeAsyncIterator()
            #expect(try await leaders.next()?.text == "1")
            proxies[0].cut()
            try await elections.proclaim("2", as: chair)
            #expect(try await leaders.next()?.text == "2")
            try await elections.resign(chair)
            await expectFailure(.other) { try await elections.proclaim("3", as: chair) }
          }
        }
      }
    }
  }

  @Test(arguments: [Isolation.serializable, .snapshot])
  func concurrentTransactionsLoseNoUpdate(level: Isolation) async throws {
    try await withMartlet { client in
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<6 {
          group.addTask {
            for _ in 0..<5 {
              try await client.transact(isolation: level, attemptsMax: 10_000) { store in
                let count = Int(try await store.text("count") ?? "0") ?? 0
                store.put("count", "\(count + 1)")
              }
            }
          }
        }
        try await group.waitForAll()
      }
      #expect(try await client.kv.get("count")?.text == "30")
    }
  }

  /// Two doctors on call; each may leave as long as the other stays. Another's leaving comes between
  /// the read and the end of the transaction.
  @Test(arguments: [Isolation.serializable, .snapshot], ServerKind.available)
  func writeSkewIsPossibleOnlyWithSnapshots(
    level: Isolation,
    server: ServerKind
  ) async throws {
    try await server.withClient { client in
      try await client.kv.put("alice", "on")
      try await client.kv.put("bob", "on")
      let runs = Atomic<Int>(0)
      try await client.transact(isolation: level) { store in
        let run = runs.wrappingAdd(1, ordering: .relaxed).newValue
        let isBobOn = try await store.text("bob") == "on"
        let isAliceOn = try await store.text("alice") == "on"
        if run == 1 { try await client.kv.put("bob", "off") }
        // One state: what came between is not seen.
        #expect(try await store.text("bob") == (run == 1 ? "on" : "off"))
        if isBobOn, isAliceOn { store.put("alice", "off") }
        #expect(try await store.text("alice") == (isBobOn ? "off" : "on"))
      }
      let alice = try await client.kv.get("alice")?.text
      #expect(alice == (level == .serializable ? "on" : "off"))
      #expect(runs.load(ordering: .relaxed) == (level == .serializable ? 2 : 1))
    }
  }

  @Test func transactionsGiveUpAndReadOneState() async throws {
    try await withMartlet { client in
      try await client.kv.put("a", "0")
      await expectFailure(.conflict, .notDone) {
        try await client.transact(attemptsMax: 3) { store in
          let value = try await store.text("a") ?? ""
          try await client.kv.put("a", value + "x")
          store.put("a", "mine")
        }
      }
      #expect(try await client.kv.get("a")?.text == "0xxx")
      // A blind delete of a key that changed since the first read conflicts with snapshots too.
      let runs = Atomic<Int>(0)
      try await client.transact(isolation: .snapshot) { store in
        _ = try await store.get("other")
        if runs.wrappingAdd(1, ordering: .relaxed).newValue == 1 {
          try await client.kv.put("a", "newer")
        }
        store.delete("a")
        #expect(try await store.get("a") == nil)
      }
      #expect(runs.load(ordering: .relaxed) == 2)
      #expect(try await client.kv.get("a") == nil)
    }
  }
}
