import MartletClient
import Synchronization
import Testing

/// Three members, of which some go and come back, and the leadership moves.
@Suite struct ClusterTests {
  /// The lease lives on whoever leads, and its key with it.
  @Test func aHeldLeaseOutlivesLeaders() async throws {
    try await TestCluster.run { cluster in
      try await withClient(cluster.addresses) { client in
        try await client.withLease(ttl: .seconds(5)) { lease in
          let start = ContinuousClock().now
          let created = try await client.kv.put("worker", "1", lease: lease.id).revision
          for round in 0..<4 {
            if round == 2 {
              let leader = try await cluster.leader()
              await cluster.stop(leader)
              _ = try await cluster.leader()
              try await cluster.start(leader)
            } else {
              try await cluster.moveLeader()
            }
          }
          // Longer than it would have lived without renewals.
          try await eventually { start.duration(to: ContinuousClock().now) > .seconds(6) }
          #expect(!lease.isLost)
          let worker = try #require(try await client.kv.get("worker"))
          #expect(worker.createRevision == created && worker.lease == lease.id)
        }
        #expect(try await client.kv.get("worker") == nil)
      }
    }
  }

  /// A watch goes from member to member, and tells everything once.
  @Test func aWatchOutlivesItsMembers() async throws {
    try await TestCluster.run { cluster in
      try await withClient(cluster.addresses) { client in
        let watch = try await client.watch(.prefix("k/"))
        var events = watch.makeAsyncIterator()
        var revision = watch.revision
        for round in 0..<4 {
          let leader = try await cluster.leader()
          if round % 2 == 0 { await cluster.stop(leader) } else { try await cluster.moveLeader() }
          for number in 0..<10 {
            let name = "k/\(round)/\(number)"
            try await Self.put(name, client)
            let event = try #require(try await events.next())
            #expect(event.keyValue.keyText == name && event.keyValue.version == 1)
            #expect(event.revision > revision)
            revision = event.revision
          }
          if round % 2 == 0 { try await cluster.start(leader) }
        }
      }
    }
  }

  /// Writes a key that does not exist, once, whatever the errors on the way.
  private static func put(_ name: String, _ client: Client) async throws {
    let creation = Transaction().if(.isMissing(name)).then(.put(name, "v"))
    while true {
      do throws(ClientError) {
        _ = try await client.kv.withDeadline(.seconds(5)).commit(creation)
        return
      } catch {
        guard error.outcome != .refused else { throw error }
      }
    }
  }

  /// As `OutcomeTests.noWriteIsLostOrMadeTwice`, but it is the members that fail.
  @Test func noWriteIsLostOrMadeTwiceWhenMembersGo() async throws {
    try await TestCluster.run { cluster in
      let told = Told()
      try await withClient(cluster.addresses) { client in
        let isOver = Flag()
        async let writing: Void = withTaskGroup(of: Void.self) { group in
          for writer in 0..<4 {
            group.addTask {
              var number = 0
              while !isOver.isRaised, number < 2_000 {
                let key = "w/\(writer)/\(number)"
                number += 1
                told.note(key, await Self.outcome(of: key, client))
              }
            }
          }
        }
        do {
          for _ in 0..<2 {
            try await cluster.moveLeader()
            let leader = try await cluster.leader()
            await cluster.stop(leader)
            _ = try await cluster.leader()
            try await cluster.start(leader)
          }
        } catch {
          isOver.raise()
          await writing
          throw error
        }
        isOver.raise()
        await writing
      }
      var versions: [String: Int64] = [:]
      try await withClient(cluster.addresses) { client in
        for try await page in client.kv.pages(.prefix("w/")) {
          for keyValue in page.keyValues { versions[keyValue.keyText] = keyValue.version }
        }
      }
      let outcomes = told.all
      #expect(outcomes.values.contains { $0 == nil })
      for (key, outcome) in outcomes {
        let version = versions[key] ?? 0
        switch outcome {
        case nil: #expect(version == 1, "\(key) was written")
        case .notDone: #expect(version == 0, "\(key) was not done")
        case .unknown: #expect(version <= 1, "\(key) is unknown")
        case .refused: Issue.record("\(key) was refused")
        }
      }
    }
  }

  /// nil: it succeeded.
  private static func outcome(of key: String, _ client: Client) async -> ClientError.Outcome? {
    do throws(ClientError) {
      _ = try await client.kv.withDeadline(.seconds(2)).put(key, "v")
      return nil
    } catch {
      return error.outcome
    }
  }

  /// A holder whose connection hangs until its lease has run out, and who does not know: others get
  /// the lock, and the holder's guarded writes change nothing.
  @Test func aHolderPausedPastItsLeaseCannotWrite() async throws {
    try await TestCluster.run { cluster in
      try await withProxies(1, to: try cluster.address(0)) { proxies in
        try await withClient([proxies[0].address]) { holder in
          try await withClient(cluster.addresses) { other in
            let lease = try await holder.leases.grant(ttl: .seconds(2)).id
            let old = try await holder.locks.lock("lock", lease: lease)
            let first = Transaction().then(.put("data", "first"))
            #expect(try await holder.kv.commit(old.guarded(first)).succeeded)
            proxies[0].set(.hang)
            // Waits for the end of the lease.
            try await other.withLock("lock") { new in
              #expect(new.fencingToken > old.fencingToken)
              proxies[0].set(.pass)
              proxies[0].cut()
              let late = Transaction().then(.put("data", "late"))
              var isRefused = false
              try await eventually {
                do throws(ClientError) {
                  isRefused = try await !holder.kv.commit(old.guarded(late)).succeeded
                  return true
                } catch {
                  guard error.code == .unavailable else { throw error }
                  return false
                }
              }
              #expect(isRefused)
              let timely = Transaction().then(.put("data", "second"))
              #expect(try await other.kv.commit(new.guarded(timely)).succeeded)
            }
            let data = try #require(try await other.kv.get("data"))
            #expect(data.text == "second" && data.version == 2)
          }
        }
      }
    }
  }

  @Test func membersTellWhereAllAre() async throws {
    try await TestCluster.run { cluster in
      try await withClient([try cluster.address(1)]) { client in
        try await client.syncMembers()
        #expect(Set(client.endpoints) == Set(cluster.addresses.map { "http://\($0)" }))
        // All but one may go; writes want two.
        await cluster.stop(1)
        try await Self.put("a", client)
        #expect(try await client.kv.get("a")?.version == 1)
      }
      // By itself, with time.
      try await withClient(cluster.addresses, \.memberSyncInterval, .milliseconds(50)) { client in
        try client.setEndpoints([try cluster.address(0)])
        try await eventually { client.endpoints.count == 3 }
      }
    }
  }
}
