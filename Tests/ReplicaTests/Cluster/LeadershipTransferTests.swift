import Base
import Raft
import Replica
import Testing

/// How somebody who waits for a transfer of leadership hears of its end.
struct LeadershipTransferTests {
  private static let patienceTicks = 10

  private static func begin(
    _ cluster: DirectCluster,
    from leader: DirectCluster.Node,
    to target: DirectCluster.Node
  ) throws -> LeadershipTransfer {
    let id = try #require(cluster.id(of: target))
    #expect(leader.machine.transferLeadership(to: id) == id)
    return LeadershipTransfer(
      to: id,
      patienceNanoseconds: UInt64(patienceTicks) * DirectCluster.tickNanoseconds
    )
  }

  @Test func itIsDoneWhenTheTargetLeads() throws {
    let cluster = try DirectCluster()
    let leader = try cluster.elect()
    var transfer = try Self.begin(cluster, from: leader, to: try #require(cluster.followers.first))
    #expect(transfer.outcome(leader.machine) == nil)
    cluster.pass(ticks: 2)
    #expect(transfer.outcome(leader.machine) == .done)
  }

  @Test func itHasFailedWhenItIsGivenUp() throws {
    let cluster = try DirectCluster()
    let leader = try cluster.elect()
    cluster.isLost = { $0.kind == .timeoutNow }
    var transfer = try Self.begin(cluster, from: leader, to: try #require(cluster.followers.first))
    cluster.pass(ticks: 2)
    #expect(transfer.outcome(leader.machine) == nil)
    cluster.pass(ticks: 2 * Self.patienceTicks)
    #expect(cluster.leader === leader)
    #expect(transfer.outcome(leader.machine) == .failed)
  }

  /// The target campaigns, so that the leader steps down for it, and is gone before it has won, with
  /// everybody else: members that are all stopped at once.
  @Test func itHasFailedWhenNobodyLeadsForSoLong() throws {
    let cluster = try DirectCluster()
    let leader = try cluster.elect()
    let target = try #require(cluster.followers.first)
    var transfer = try Self.begin(cluster, from: leader, to: target)
    cluster.turn(leader)
    cluster.deliver()
    cluster.turn(target)
    cluster.sync(target)
    cluster.turn(target)
    cluster.deliver()
    cluster.isLost = { _ in true }
    cluster.turn(leader)
    #expect(leader.machine.status.role == .follower && leader.machine.status.leader == .none)
    for _ in 0...Self.patienceTicks {
      #expect(transfer.outcome(leader.machine) == nil)
      cluster.pass(ticks: 1, only: [leader])
    }
    #expect(transfer.outcome(leader.machine) == .failed)
  }
}
