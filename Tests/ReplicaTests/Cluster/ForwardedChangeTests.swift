import Base
import Membership
import Raft
import Replica
import Testing

/// Changes of the membership that come to members that do not lead.
struct ForwardedChangeTests {
  private static func ask(
    _ kind: MembershipChange.Kind,
    _ id: MemberID,
    call: UInt64,
    at node: DirectCluster.Node
  ) {
    var batch = ProposalBatch(epoch: node.epoch)
    batch.append(MembershipChange(kind, id), handle: RequestHandle(loop: 0, call: call))
    node.machine.receive(membership: batch.take())
  }

  /// Found by the simulation (seed 1584): the first of two changes came again after the second and
  /// undid it.
  @Test func aChangeThatComesTwiceIsMadeOnce() throws {
    let cluster = try DirectCluster()
    let leader = try cluster.elect()
    let follower = try #require(cluster.followers.first)
    let changed = cluster.ids[0]
    cluster.pass(ticks: 2)
    Self.ask(.update(peerURLs: ["http://localhost:2500"]), changed, call: 1, at: follower)
    cluster.turn(follower)
    let message = try #require(
      cluster.wires.first { wire in
        wire.kind == .propose && wire.entries.contains { $0.payload.isConfiguration }
      }
    )
    cluster.settle()
    cluster.pass(ticks: 2)
    #expect(follower.answers.map(\.call) == [1] && follower.answers.first?.error == nil)
    Self.ask(.update(peerURLs: ["http://localhost:2501"]), changed, call: 2, at: leader)
    cluster.settle()
    try leader.machine.receive(message)
    cluster.pass(ticks: 2)
    // Nor is it made in another term.
    let other = try #require(cluster.followers.last)
    let id = try #require(cluster.id(of: other))
    _ = leader.machine.transferLeadership(to: id)
    cluster.pass(ticks: 3)
    #expect(cluster.leader === other)
    var late = message
    late.to = id
    try other.machine.receive(late)
    cluster.pass(ticks: 2)
    for node in cluster.nodes {
      #expect(node.machine.members[changed]?.peerURLs == ["http://localhost:2501"])
    }
    #expect(follower.answers.count == 1)
  }

  @Test func whoAskedHearsThatTheLeaderRefuses() throws {
    let cluster = try DirectCluster {
      $0.raft.uncommittedBytesMax = 40
      $0.urgentBytesReserved = 0
    }
    let leader = try cluster.elect()
    let follower = try #require(cluster.followers.first)
    cluster.pass(ticks: 2)
    // An entry that nobody gets fills what may be uncommitted.
    cluster.isLost = { $0.kind == .app }
    cluster.put("fills", call: 1, at: leader)
    cluster.settle()
    Self.ask(.remove, cluster.ids[2], call: 2, at: follower)
    cluster.settle()
    #expect(follower.answers.map(\.call) == [2])
    #expect(follower.answers.first?.error == .tooManyRequests)
    cluster.isLost = { _ in false }
    cluster.pass(ticks: 3)
    #expect(cluster.nodes.allSatisfy { $0.machine.members.members.count == 3 })
  }
}
