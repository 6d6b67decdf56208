import Base
import Lease
import MVCC
import Proto
import Raft
import Replica
import Testing

/// D3: a disk that hangs, rather than fails.
struct StalledDiskTests {
  @Test(arguments: [true, false]) func aLeaderWithAHungDiskGoes(canHandOver: Bool) throws {
    let cluster = try DirectCluster()
    let old = try cluster.elect()
    old.hasHungDisk = true
    if !canHandOver { cluster.isLost = { $0.kind == .timeoutNow } }
    cluster.put("a", call: 1, at: old)
    cluster.pass(ticks: 11)
    // The others' disks are a quorum.
    #expect(old.machine.status.committed == old.machine.status.lastIndex)
    cluster.pass(ticks: canHandOver ? 5 : 45)
    let new = try #require(cluster.leader)
    #expect(new !== old)
    cluster.put("b", call: 2, at: new)
    cluster.pass(ticks: 2)
    #expect(new.answers.contains { $0.call == 2 && $0.error == nil })
    // For as long as it hangs, it does not try to lead again, whatever happens to the others.
    cluster.isLost = { $0.to == cluster.id(of: old) }
    let term = old.machine.status.term
    cluster.pass(ticks: 50, only: [old])
    #expect(old.machine.status.role == .follower && old.machine.status.term == term)
    // When the disk answers it takes part again.
    cluster.isLost = { _ in false }
    old.hasHungDisk = false
    cluster.pass(ticks: 30)
    #expect(Set(cluster.nodes.map(\.store.stateHash)).count == 1)
  }

  @Test func aHungDiskRevokesNoLease() throws {
    let cluster = try DirectCluster()
    let old = try cluster.elect()
    cluster.propose(
      .leaseGrant,
      Etcdserverpb.LeaseGrantRequest(ttl: 2, id: 7),
      call: 1,
      at: old
    )
    cluster.pass(ticks: 1)
    #expect(old.answers.contains { $0.call == 1 && $0.error == nil })
    // The disk hangs with a write under way, and nobody can take over: the lease's time passes.
    old.hasHungDisk = true
    cluster.put("a", call: 2, at: old)
    cluster.isLost = { $0.kind == .timeoutNow || $0.kind == .vote || $0.kind == .preVote }
    cluster.pass(ticks: 60)
    #expect(cluster.nodes.allSatisfy { $0.machine.leases.stored(LeaseID(7)) != nil })
    cluster.isLost = { _ in false }
    // A new leader gives it all of its time again, and then ends it.
    for _ in 0..<60 where cluster.leader == nil || cluster.leader === old { cluster.pass(ticks: 1) }
    #expect(cluster.leader.map { $0 !== old } == true)
    let alive = cluster.nodes.filter { $0.machine.leases.stored(LeaseID(7)) != nil }
    #expect(alive.count == 3)
    cluster.pass(ticks: 40)
    #expect(cluster.leader?.machine.leases.stored(LeaseID(7)) == nil)
  }
}
