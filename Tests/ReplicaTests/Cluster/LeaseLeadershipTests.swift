import Base
import Lease
import Proto
import Raft
import Replica
import Testing

/// R11 and what belongs to it: leases from one leader to the next.
struct LeaseLeadershipTests {
  private static let second = UInt64(10)

  private func grant(_ id: Int64, _ seconds: Int64, _ cluster: DirectCluster) throws {
    let leader = try #require(cluster.leader)
    cluster.propose(
      .leaseGrant,
      Etcdserverpb.LeaseGrantRequest(ttl: seconds, id: id),
      call: UInt64(id),
      at: leader
    )
    cluster.pass(ticks: 2)
    #expect(leader.answers.contains { $0.call == UInt64(id) && $0.error == nil })
  }

  private func hand(
    over cluster: DirectCluster
  ) throws -> (
    old: DirectCluster.Node, new: DirectCluster.Node
  ) {
    let old = try #require(cluster.leader)
    let target = try #require(old.machine.transferLeadership())
    cluster.pass(ticks: 2)
    let new = try #require(cluster.leader)
    #expect(cluster.id(of: new) == target)
    return (old, new)
  }

  @Test func aNewLeaderLetsNoLeaseEndEarly() throws {
    let cluster = try DirectCluster()
    _ = try cluster.elect()
    try grant(7, 3, cluster)
    cluster.pass(ticks: 25)
    let (old, new) = try hand(over: cluster)
    // Only who leads renews.
    #expect(old.machine.leases.renew(LeaseID(7), now: cluster.now) == .notPrimary)
    #expect(new.machine.leases.renew(LeaseID(7), now: cluster.now) == .renewed(seconds: 3))
    let begin = cluster.now
    while new.machine.leases.stored(LeaseID(7)) != nil, cluster.now < begin + 60_000_000_000 {
      cluster.pass(ticks: 1)
    }
    let lived = cluster.now - begin
    #expect(lived >= 3_000_000_000 && lived < 8_000_000_000)
    cluster.pass(ticks: 2)
    #expect(cluster.nodes.allSatisfy { $0.machine.leases.stored(LeaseID(7)) == nil })
  }

  /// What is left of a long lease goes through the log, so that a change of leader does not give it
  /// all of its time again.
  @Test func checkpointsOutliveTheirLeader() throws {
    let cluster = try DirectCluster()
    _ = try cluster.elect()
    try grant(7, 2000, cluster)
    for _ in 0..<700 { cluster.pass(ticks: 10) }
    let known = cluster.followers[0].machine.leases.times(of: LeaseID(7), now: 0)
    #expect(try #require(known).remainingSeconds < 1700)
    let (_, new) = try hand(over: cluster)
    let times = try #require(new.machine.leases.times(of: LeaseID(7), now: cluster.now))
    #expect(times.remainingSeconds > 1000 && times.remainingSeconds < 1700)
    // A renewal must not promise more than a third leader would know of.
    #expect(new.machine.leases.renew(LeaseID(7), now: cluster.now) == .needsCheckpoint)
  }

  /// A leader that was paused, and is none any more, decides nothing about leases when it wakes up:
  /// neither by itself nor by sending a revocation to the new leader.
  @Test func aPausedLeaderRevokesNothing() throws {
    let cluster = try DirectCluster()
    let old = try cluster.elect()
    try grant(7, 3, cluster)
    let awake = cluster.followers
    cluster.cutOff(old)
    for _ in 0..<60 where cluster.leader === old { cluster.pass(ticks: 1, only: awake) }
    let new = try #require(cluster.leader)
    #expect(new !== old)
    // The new leader renews; by the old one's clock the lease is long over.
    for _ in 0..<10 {
      cluster.pass(ticks: 10, only: awake)
      #expect(new.machine.leases.renew(LeaseID(7), now: cluster.now) == .renewed(seconds: 3))
    }
    cluster.cutOff(nil)
    // It hears the new leader's heartbeat, and its tick comes before its next turn.
    for message in heartbeats(from: new, in: cluster) where message.to == cluster.id(of: old) {
      try old.machine.receive(message)
    }
    old.machine.tick()
    old.machine.proposeExpiry()
    cluster.settle()
    cluster.pass(ticks: 10)
    #expect(cluster.nodes.allSatisfy { $0.machine.leases.stored(LeaseID(7)) != nil })
    #expect(old.machine.leases.renew(LeaseID(7), now: cluster.now) == .notPrimary)
  }

  private func heartbeats(
    from node: DirectCluster.Node,
    in cluster: DirectCluster
  ) -> [Raft.Message] {
    node.machine.tick()
    cluster.turn(node)
    defer { cluster.wires = [] }
    return cluster.wires
  }
}
