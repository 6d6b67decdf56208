import Base
import MVCC
import Proto
import Raft
import Replica
import Testing

/// Linearizable reads in a cluster of several.
struct ClusterReadTests {
  @Test func anyMemberReadsWhatWasAcknowledged() throws {
    let cluster = try DirectCluster()
    let leader = try cluster.elect()
    cluster.put("a", call: 1, at: leader)
    cluster.settle()
    #expect(leader.answers.count == 1)
    for (place, node) in cluster.nodes.enumerated() {
      #expect(node.machine.requestRead(UInt64(place + 1)))
      cluster.settle()
      cluster.pass(ticks: 1)
      #expect(node.readyReads == [UInt64(place + 1)])
      #expect(node.store.currentRevision.rawValue == 2)
    }
  }

  /// R10: a leader that was away, and meanwhile replaced, answers nothing by what it heard before.
  @Test func aDeposedLeaderServesNoRead() throws {
    let cluster = try DirectCluster()
    let old = try cluster.elect()
    #expect(old.machine.requestRead(1))
    cluster.turn(old)
    // The answers to its heartbeats are under way while it stands still.
    cluster.deliver()
    for follower in cluster.followers { cluster.turn(follower) }
    let late = cluster.wires.filter { $0.to == cluster.id(of: old) }
    #expect(late.contains { $0.kind == .heartbeatResp })
    cluster.cutOff(old)
    let awake = cluster.followers
    for _ in 0..<40 where cluster.leader === old || cluster.leader == nil {
      cluster.pass(ticks: 1, only: awake)
    }
    let new = try #require(cluster.leader)
    #expect(new !== old)
    cluster.put("a", call: 1, at: new)
    cluster.settle()
    #expect(new.answers.map(\.call) == [1])
    // It wakes up. A second read comes, then the old answers: they are none to it.
    #expect(old.machine.requestRead(2))
    for message in late { try? old.machine.receive(message) }
    cluster.turn(old)
    #expect(!old.readyReads.contains(2))
    // Connected again, the read is asked of the new leader, within its time.
    cluster.cutOff(nil)
    cluster.pass(ticks: 5)
    #expect(old.readyReads.contains(2) && old.lostReads.isEmpty)
    #expect(old.store.currentRevision.rawValue == 2)
  }

  @Test func aLostQuestionIsAskedAgain() throws {
    let cluster = try DirectCluster()
    _ = try cluster.elect()
    let follower = try #require(cluster.followers.first)
    cluster.isLost = { $0.kind == .readIndexResp }
    #expect(follower.machine.requestRead(7))
    cluster.pass(ticks: 12)
    #expect(follower.readyReads.isEmpty && follower.lostReads.isEmpty)
    cluster.isLost = { _ in false }
    cluster.pass(ticks: 12)
    #expect(follower.readyReads == [7] && follower.lostReads.isEmpty)
  }

  @Test func aReadWithoutALeaderEndsWhenItsTimeIsOver() throws {
    let cluster = try DirectCluster { $0.patienceTicks = 20 }
    cluster.isLost = { _ in true }
    let node = cluster.nodes[0]
    #expect(node.machine.requestRead(3))
    cluster.pass(ticks: 15)
    #expect(node.lostReads.isEmpty)
    cluster.pass(ticks: 10)
    #expect(node.lostReads == [3] && node.readyReads.isEmpty)
  }
}
