import Proto
import RPC
import Testing

/// Locks and elections over a running member; J3 and J4 of the invariants among them.
@Suite("A running member: locks and elections")
struct LockTests {
  private static func lease(_ member: TestMember, _ id: Int64) async throws -> Int64 {
    let granted = try await LeaseClient(member.client).leaseGrant(.init(ttl: 60, id: id))
    return granted.id
  }

  private static func keys(
    _ member: TestMember,
    under prefix: String
  ) async throws
    -> [Mvccpb.KeyValue]
  {
    let end = String(prefix.dropLast()) + "0"
    return try await member.kv.range(.init(prefix, end)).kvs
  }

  private static let name = Array("mutex".utf8)

  @Test("a lock's key is its name and its lease, and goes with unlock")
  func keyOfALock() async throws {
    try await withMember { member in
      let lock = LockClient(member.client)
      let lease = try await Self.lease(member, 0x1d83)
      let held = try await lock.lock(.init(name: Self.name, lease: lease))
      #expect(held.key == Array("mutex/1d83".utf8))
      // Who has the lock already gets it again.
      let again = try await lock.lock(.init(name: Self.name, lease: lease))
      #expect(again.key == held.key)
      _ = try await lock.unlock(.init(key: held.key))
      #expect(try await Self.keys(member, under: "mutex/").isEmpty)
      let gone = try await lock.unlock(.init(key: held.key))
      #expect(gone.header?.revision == 3)
    }
  }

  @Test("a lock without a lease gets one of 60 seconds")
  func ownLease() async throws {
    try await withMember { member in
      let held = try await LockClient(member.client).lock(.init(name: Self.name))
      let kv = try #require(try await Self.keys(member, under: "mutex/").first)
      #expect(kv.key == held.key)
      let lease = try await LeaseClient(member.client).leaseTimeToLive(.init(id: kv.lease))
      #expect(lease.grantedTTL == 60)
    }
  }

  @Test("errors are etcd's")
  func errors() async throws {
    try await withMember { member in
      let (lock, election) = (LockClient(member.client), ElectionClient(member.client))
      await expectFailure(.unknown, "etcdserver: requested lease not found") {
        _ = try await lock.lock(.init(name: Self.name, lease: 12345))
      }
      await expectFailure(.unknown, "etcdserver: key is not provided") {
        _ = try await lock.unlock(.init())
      }
      await expectFailure(.unknown, "election: no leader") {
        _ = try await election.leader(.init(name: Self.name))
      }
      await expectFailure(.unknown, "\"leader\" field must be provided") {
        _ = try await election.resign(.init())
      }
      await expectFailure(.unknown, "\"leader\" field must be provided") {
        _ = try await election.proclaim(.init())
      }
      let stranger = V3electionpb.LeaderKey(name: Self.name, key: Self.name, rev: 3)
      await expectFailure(.unknown, "election: not leader") {
        _ = try await election.proclaim(.init(leader: stranger, value: [1]))
      }
      _ = try await election.resign(.init(leader: stranger))
      #expect(try await Self.keys(member, under: "mutex/").isEmpty)
    }
  }

  @Test("a leader proclaims and resigns")
  func election() async throws {
    try await withMember { member in
      let election = ElectionClient(member.client)
      let lease = try await Self.lease(member, 105)
      let won = try await election.campaign(
        .init(name: Self.name, lease: lease, value: [1])
      )
      let key = try #require(won.leader)
      #expect(key.lease == lease)
      #expect(try await election.leader(.init(name: Self.name)).kv?.value == [1])
      _ = try await election.proclaim(.init(leader: key, value: [2]))
      let leader = try await election.leader(.init(name: Self.name))
      #expect(leader.kv?.value == [2])
      #expect(leader.kv?.createRevision == key.rev)
      #expect(leader.kv?.lease == lease)
      _ = try await election.resign(.init(leader: key))
      await expectFailure(.unknown, "election: no leader") {
        _ = try await election.leader(.init(name: Self.name))
      }
    }
  }

  @Test("J4: an old holder's create revision does not pass any more")
  func fencing() async throws {
    try await withMember { member in
      let lock = LockClient(member.client)
      let lease = try await Self.lease(member, 7)
      let first = try await lock.lock(.init(name: Self.name, lease: lease))
      let token = try #require(try await Self.keys(member, under: "mutex/").first).createRevision
      _ = try await LeaseClient(member.client).leaseRevoke(.init(id: lease))
      let other = try await Self.lease(member, 7)
      let second = try await lock.lock(.init(name: Self.name, lease: other))
      // The very same key: only the revision tells the holders apart.
      #expect(second.key == first.key)
      var write = Etcdserverpb.TxnRequest()
      var compare = Etcdserverpb.Compare()
      compare.key = first.key
      compare.target = .create
      compare.targetUnion = .createRevision(token)
      write.compare = [compare]
      #expect(try await member.kv.txn(write).succeeded == false)
      let now = try #require(try await Self.keys(member, under: "mutex/").first).createRevision
      #expect(now > token)
      write.compare[0].targetUnion = .createRevision(now)
      #expect(try await member.kv.txn(write).succeeded)
    }
  }
}
