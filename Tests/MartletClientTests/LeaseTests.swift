import MartletClient
import Synchronization
import Testing

@Suite struct LeaseTests {
  @Test(arguments: ServerKind.available)
  func aLeaseIsGrantedRenewedAndRevoked(server: ServerKind) async throws {
    try await server.withClient { client in
      let grant = try await client.leases.grant(ttl: .seconds(60))
      #expect(grant.ttl == .seconds(60))
      try await client.kv.put("a", "1", lease: grant.id)
      let status = try await client.leases.status(of: grant.id, includesKeys: true)
      #expect(status.ttl == .seconds(60))
      #expect(status.timeLeft <= .seconds(60) && status.timeLeft > .seconds(30))
      #expect(status.keys == [Array("a".utf8)])
      #expect(try await client.leases.keepAlive(grant.id) == .seconds(60))
      #expect(try await client.leases.list() == [grant.id])
      try await client.leases.revoke(grant.id)
      #expect(try await client.kv.get("a") == nil)
      await expectFailure(.leaseNotFound) { try await client.leases.revoke(grant.id) }
      await expectFailure(.leaseNotFound) { try await client.leases.keepAlive(grant.id) }
      await expectFailure(.leaseNotFound) { _ = try await client.leases.status(of: grant.id) }
      let chosen = LeaseID(rawValue: 77)
      #expect(try await client.leases.grant(ttl: .milliseconds(59_500), id: chosen).id == chosen)
      await expectFailure(.leaseExists) {
        _ = try await client.leases.grant(ttl: .seconds(60), id: chosen)
      }
    }
  }

  @Test(arguments: ServerKind.available)
  func aHeldLeaseOutlivesItsTimeToLiveAndThenGoes(server: ServerKind) async throws {
    try await server.withClient { client in
      let id = try await client.withLease(ttl: .seconds(4)) { lease in
        try await client.kv.put("worker", "1", lease: lease.id)
        try await Task.sleep(for: lease.ttl * 1.25)
        #expect(!lease.isLost)
        #expect(try await client.kv.get("worker")?.lease == lease.id)
        return lease.id
      }
      #expect(try await client.kv.get("worker") == nil)
      await expectFailure(.leaseNotFound) { _ = try await client.leases.status(of: id) }
    }
  }

  @Test func errorsAndCancellationGiveTheLeaseBack() async throws {
    try await withMartlet { client in
      struct Failure: Error {}
      await #expect(throws: Failure.self) {
        try await client.withLease(ttl: .seconds(60)) { lease in
          try await client.kv.put("worker", "1", lease: lease.id)
          throw Failure()
        }
      }
      #expect(try await client.kv.get("worker") == nil)
      let task = Task {
        try await client.withLease(ttl: .seconds(60)) { lease in
          try await client.kv.put("worker", "2", lease: lease.id)
          try await Task.sleep(for: .seconds(600))
        }
      }
      try await eventually { try await client.kv.get("worker") != nil }
      task.cancel()
      await #expect(throws: CancellationError.self) { try await task.value }
      #expect(try await client.kv.get("worker") == nil)
    }
  }

  @Test(arguments: ServerKind.available)
  func aRevokedLeaseCancelsTheClosure(server: ServerKind) async throws {
    try await server.withClient { client in
      await expectFailure(.leaseLost) {
        try await client.withLease(ttl: .seconds(2)) { lease in
          try await client.leases.revoke(lease.id)
          try await Task.sleep(for: .seconds(600))
        }
      }
    }
  }

  /// No member answers: the lease counts as lost when its time is over by this side's clock, no
  /// later than at the member.
  @Test func anUnreachableClusterMeansTheLeaseIsLost() async throws {
    try await withMember { _, target in
      try await withProxies(1, to: target) { proxies in
        try await withClient([proxies[0].address]) { client in
          let held = Mutex<HeldLease?>(nil)
          await expectFailure(.leaseLost) {
            try await client.withLease(ttl: .seconds(2)) { lease in
              held.withLock { $0 = lease }
              proxies[0].set(.hang)
              try await Task.sleep(for: .seconds(600))
            }
          }
          let lease = try #require(held.withLock { $0 })
          #expect(lease.isLost && lease.timeLeft == .zero)
        }
      }
    }
  }
}
