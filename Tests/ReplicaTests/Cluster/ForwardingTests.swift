import Base
import MVCC
import Proto
import Raft
import Replica
import Testing

/// Proposals of members that do not lead.
struct ForwardingTests {
  @Test func aFollowersWriteIsAnsweredWhereItCame() throws {
    let cluster = try DirectCluster()
    _ = try cluster.elect()
    for (call, node) in cluster.nodes.enumerated() {
      cluster.put("k\(call)", call: UInt64(call), at: node)
    }
    cluster.settle()
    // The others learn of the commit with the next heartbeat.
    cluster.pass(ticks: 2)
    for (call, node) in cluster.nodes.enumerated() {
      #expect(node.answers.map(\.call) == [UInt64(call)])
      #expect(node.answers.allSatisfy { $0.error == nil })
      #expect(node.store.currentRevision.rawValue == 4)
    }
    #expect(Set(cluster.nodes.map(\.store.stateHash)).count == 1)
  }

  @Test func aMessageThatComesTwiceIsProposedOnce() throws {
    let cluster = try DirectCluster()
    let leader = try cluster.elect()
    let follower = try #require(cluster.followers.first)
    cluster.put("a", call: 1, at: follower)
    cluster.turn(follower)
    let message = try #require(cluster.wires.first { $0.kind == .propose })
    cluster.settle()
    try leader.machine.receive(message)
    cluster.pass(ticks: 2)
    // And when it was under way for long: in another term.
    let other = try #require(cluster.followers.last)
    let id = try #require(cluster.id(of: other))
    _ = leader.machine.transferLeadership(to: id)
    cluster.pass(ticks: 3)
    #expect(cluster.leader === other)
    var late = message
    late.to = id
    try other.machine.receive(late)
    try leader.machine.receive(message)
    cluster.pass(ticks: 2)
    #expect(cluster.nodes.allSatisfy { $0.store.currentRevision.rawValue == 2 })
  }

  /// Its stream breaks under a message and another is made, while the leader stays the same.
  @Test(arguments: [true, false]) func whatANewStreamBringsIsDoneOnce(isLost: Bool) throws {
    let cluster = try DirectCluster()
    let leader = try cluster.elect()
    let term = leader.machine.status.term
    let follower = try #require(cluster.followers.first)
    cluster.isLost = { isLost && $0.kind == .propose }
    for call in 1...5 {
      cluster.put("k\(call)", call: UInt64(call), at: follower)
      cluster.turn(follower)
    }
    cluster.isLost = { _ in false }
    // A stream to somebody else changes nothing.
    let other = try #require(cluster.followers.last)
    follower.machine.peerConnected(try #require(cluster.id(of: other)))
    follower.machine.peerConnected(try #require(cluster.id(of: leader)))
    cluster.turn(follower)
    #expect(cluster.wires.count { $0.kind == .propose } == (isLost ? 5 : 10))
    cluster.settle()
    cluster.pass(ticks: 2)
    #expect(follower.answers.map(\.call).sorted() == Array(1...5))
    #expect(follower.answers.allSatisfy { $0.error == nil })
    #expect(leader.machine.status.term == term)
    #expect(cluster.nodes.allSatisfy { $0.store.currentRevision.rawValue == 6 })
    // Nothing is left to be sent again.
    follower.machine.peerConnected(try #require(cluster.id(of: leader)))
    cluster.turn(follower)
    #expect(!cluster.wires.contains { $0.kind == .propose })
  }

  /// A leader without room on its streams, or for what came in, drops messages and says nothing.
  @Test func whatIsLostInSilenceIsSaidAgain() throws {
    let cluster = try DirectCluster()
    let leader = try cluster.elect()
    let term = leader.machine.status.term
    let follower = try #require(cluster.followers.first)
    cluster.isLost = { $0.kind == .propose }
    cluster.put("a", call: 1, at: follower)
    cluster.settle()
    cluster.isLost = { _ in false }
    cluster.put("b", call: 2, at: follower)
    cluster.settle()
    cluster.pass(ticks: 2)
    #expect(follower.answers.map(\.call) == [2])
    cluster.pass(ticks: 20)
    #expect(follower.answers.map(\.call) == [2, 1])
    #expect(leader.machine.status.term == term)
    #expect(cluster.nodes.allSatisfy { $0.store.currentRevision.rawValue == 3 })
  }

  /// The answer of a leader that had no room is lost: it is the same when the message comes again,
  /// though by then there is room.
  @Test func aRefusalThatIsLostIsSaidAgain() throws {
    let cluster = try DirectCluster {
      $0.raft.uncommittedBytesMax = 2000
      $0.urgentBytesReserved = 1000
    }
    let leader = try cluster.elect()
    let follower = try #require(cluster.followers.first)
    cluster.isLost = { $0.kind == .app || $0.kind == .propose && $0.reject }
    for call in 1...40 { cluster.put("key\(call)", call: UInt64(call), at: follower) }
    cluster.settle()
    #expect(follower.answers.isEmpty)
    cluster.isLost = { _ in false }
    cluster.pass(ticks: 30)
    #expect(Set(follower.answers.map(\.call)).count == 40)
    let refused = follower.answers.filter { $0.error == .tooManyRequests }
    #expect(!refused.isEmpty && refused.count < 40)
    #expect(leader.store.currentRevision.rawValue == Int64(1 + 40 - refused.count))
  }

  /// What nobody waits for any more is not sent again for ever.
  @Test func whatWasForwardedInVainIsForgotten() throws {
    let cluster = try DirectCluster { $0.patienceTicks = 15 }
    let leader = try cluster.elect()
    let follower = try #require(cluster.followers.first)
    cluster.isLost = { $0.kind == .propose }
    cluster.put("a", call: 1, at: follower)
    cluster.pass(ticks: 17)
    cluster.isLost = { _ in false }
    follower.machine.peerConnected(try #require(cluster.id(of: leader)))
    cluster.pass(ticks: 20)
    #expect(follower.answers.isEmpty)
    #expect(cluster.nodes.allSatisfy { $0.store.currentRevision.rawValue == 1 })
  }

  /// Answers to the refused come as soon as the message takes.
  @Test func aLeaderThatHasNoRoomSaysSo() throws {
    let cluster = try DirectCluster {
      $0.raft.uncommittedBytesMax = 2000
      $0.urgentBytesReserved = 1000
    }
    let leader = try cluster.elect()
    let follower = try #require(cluster.followers.first)
    // Nothing commits, so it piles up at the leader.
    cluster.isLost = { $0.kind == .app }
    for call in 1...40 { cluster.put("key\(call)", call: UInt64(call), at: follower) }
    cluster.settle()
    let refused = follower.answers.filter { $0.error == .tooManyRequests }.map(\.call)
    #expect(!refused.isEmpty && refused.count < 40 && refused.count == follower.answers.count)
    cluster.isLost = { _ in false }
    cluster.pass(ticks: 5)
    #expect(cluster.leader === leader)
    #expect(follower.answers.count == 40)
    #expect(Set(follower.answers.map(\.call)).count == 40)
    // Exactly those that were not refused are done.
    #expect(leader.store.currentRevision.rawValue == Int64(1 + 40 - refused.count))
  }

  @Test func whatComesWithoutALeaderWaitsForOne() throws {
    let cluster = try DirectCluster()
    let first = cluster.nodes[0]
    cluster.put("early", call: 1, at: first)
    cluster.settle()
    #expect(first.answers.isEmpty)
    _ = try cluster.elect()
    cluster.pass(ticks: 2)
    #expect(first.answers.map(\.call) == [1] && first.answers.first?.error == nil)
  }

  @Test func whatNobodyWaitsForAnyMoreIsDropped() throws {
    let cluster = try DirectCluster { $0.patienceTicks = 5 }
    cluster.isLost = { _ in true }
    cluster.put("early", call: 1, at: cluster.nodes[0])
    cluster.pass(ticks: 7)
    cluster.isLost = { _ in false }
    _ = try cluster.elect()
    cluster.pass(ticks: 2)
    #expect(cluster.nodes.allSatisfy { $0.store.currentRevision.rawValue == 1 })
  }

  /// The leader dies with a write that nobody else has, and with one that a quorum has: after the
  /// next leader's first entry the origins know the one to be not done, and the other is answered.
  @Test func aNewTermTellsWhatIsNotDone() throws {
    let cluster = try DirectCluster()
    let old = try cluster.elect()
    let origin = try #require(cluster.followers.first)
    let done = cluster.put("done", call: 1, at: origin)
    // The leader appends and the others store it, but no word of the commit gets out.
    for _ in 0..<3 {
      for node in cluster.nodes {
        cluster.turn(node)
        cluster.sync(node)
      }
      cluster.isLost = {
        $0.from == cluster.id(of: old) && $0.commit > old.machine.status.committed
      }
      cluster.deliver()
    }
    cluster.isLost = { _ in false }
    cluster.cutOff(old)
    let lost = cluster.put("lost", call: 2, at: origin)
    let own = cluster.put("own", call: 3, at: old)
    cluster.settle()
    let new = try cluster.elect(after: old)
    cluster.pass(ticks: 2)
    #expect(origin.answers.map(\.call) == [1])
    #expect(origin.notDone.map(\.sequence) == [lost.sequence])
    #expect(done.sequence < lost.sequence)
    #expect(new.store.currentRevision.rawValue == 2)
    // The old leader comes back; its own proposals of the old term are not done either.
    cluster.cutOff(nil)
    cluster.pass(ticks: 5)
    #expect(old.notDone.map(\.sequence) == [own.sequence])
    #expect(old.answers.isEmpty)
    #expect(Set(cluster.nodes.map(\.store.stateHash)).count == 1)
  }

  /// While leadership is handed over, writes wait; they are proposed by the new leader, or again by
  /// the old one when nothing comes of it.
  @Test(arguments: [true, false]) func writesWaitForATransfer(succeeds: Bool) throws {
    let cluster = try DirectCluster()
    let leader = try cluster.elect()
    let target = try #require(cluster.followers.first)
    let other = try #require(cluster.followers.last)
    let id = try #require(cluster.id(of: target))
    #expect(leader.machine.transferLeadership(to: id) == id)
    if !succeeds { cluster.isLost = { $0.kind == .timeoutNow } }
    cluster.put("here", call: 1, at: leader)
    cluster.put("there", call: 2, at: other)
    cluster.settle()
    cluster.pass(ticks: 15)
    #expect((cluster.leader === target) == succeeds)
    #expect(leader.answers.map(\.call) == [1])
    // The other's message was for the old leader's term.
    if succeeds {
      #expect(other.answers.map(\.call) == [2] || other.notDone.count == 1)
    } else {
      #expect(other.answers.map(\.call) == [2])
    }
    #expect(leader.answers.allSatisfy { $0.error == nil })
  }

  @Test func whatFollowersAcknowledgeIsDurable() throws {
    let cluster = try DirectCluster()
    let leader = try cluster.elect()
    for follower in cluster.followers { follower.hasHungDisk = true }
    cluster.put("a", call: 1, at: leader)
    cluster.pass(ticks: 3)
    // Their memories have it, and no disk but the leader's.
    #expect(leader.answers.isEmpty && leader.store.currentRevision.rawValue == 1)
    cluster.followers[0].hasHungDisk = false
    cluster.pass(ticks: 3)
    #expect(leader.answers.map(\.call) == [1])
  }
}
