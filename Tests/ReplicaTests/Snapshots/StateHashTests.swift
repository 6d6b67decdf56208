import Base
import Lease
import MVCC
import Membership
import Proto
import Raft
import Replica
import Testing

/// The rolling hash: the same at the same index on all members, and never again once they differ.
struct StateHashTests {
  @Test func membersHaveEqualHashesAtEqualIndexes() throws {
    let cluster = try SmallCluster(catchUp: 5000)
    _ = try cluster.elect()
    var seen: [LogIndex: UInt64] = [:]
    for number in 0..<200 {
      try cluster.put("k\(number % 7)", "\(number)")
      if number % 20 == 0 {
        try cluster.propose(
          .leaseGrant,
          Etcdserverpb.LeaseGrantRequest(ttl: 100, id: Int64(number + 1))
        )
      }
      if number == 100 {
        try cluster.propose(.compaction, Etcdserverpb.CompactionRequest(revision: 50))
      }
      let hash = cluster.members[0].machine.stateHash
      #expect(seen.updateValue(hash.hash, forKey: hash.index) == nil)
      for member in cluster.members { #expect(member.machine.stateHash == hash) }
    }
    #expect(Set(seen.values).count == seen.count)
    // Late ones are still known.
    for (index, hash) in seen {
      for member in cluster.members { #expect(member.machine.stateHash(at: index) == hash) }
    }
    #expect(cluster.members[0].machine.stateHash(at: LogIndex(1 << 40)) == nil)
  }

  @Test func anEffectBesideTheStoreCounts() throws {
    let cluster = try SmallCluster()
    let leader = try cluster.elect()
    let other = try #require(cluster.members.first { $0 !== leader })
    // A lease that only one member knows.
    _ = try other.machine.leases.grant(LeaseID(5), seconds: 10, at: LogIndex(1), now: 0)
    try cluster.put("a", "1")
    #expect(other.machine.stateHash == leader.machine.stateHash)
    try cluster.propose(.leaseGrant, Etcdserverpb.LeaseGrantRequest(ttl: 100, id: 9))
    #expect(other.machine.stateHash.index == leader.machine.stateHash.index)
    #expect(other.machine.stateHash != leader.machine.stateHash)
  }

  @Test func aStoreThatDiffersIsSeenForEver() throws {
    let cluster = try SmallCluster()
    let leader = try cluster.elect()
    let other = try #require(cluster.members.first { $0 !== leader })
    other.store.withApplyBatch { other.store.delete([]) }
    try cluster.put("a", "1")
    #expect(other.machine.stateHash == leader.machine.stateHash)
    let bytes: [UInt8] = Array("a".utf8)
    bytes.withUnsafeBytes { key in other.store.withApplyBatch { other.store.delete([key]) } }
    for number in 0..<50 {
      try cluster.put("b\(number)", "1")
      #expect(other.machine.stateHash.index == leader.machine.stateHash.index)
      #expect(other.machine.stateHash != leader.machine.stateHash)
    }
  }
}
