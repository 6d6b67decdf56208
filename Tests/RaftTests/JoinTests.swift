import Base
import Raft
import Testing

/// A member that does not know how its cluster began.
@Suite("Joining")
struct JoinTests {
  @Test("a joiner refuses the log from its beginning and is sent a snapshot")
  func snapshotFirst() throws {
    var leader = try makeNode(voters: 1...1)
    leader.campaign()
    settle(&leader)
    try leader.propose([SharedBytes([7])])
    settle(&leader)
    let change = ConfChange(changes: [.init(.addLearner, MemberID(2))])
    try leader.propose(change)
    settle(&leader)
    leader.applyConfChange(change)
    leader.snapshotAvailable(
      SnapshotMetadata(index: leader.commit, term: leader.term, confState: leader.confState)
    )
    var restored = RestoredState()
    restored.awaitsSnapshot = true
    var joiner = try RaftNode(
      configuration: RaftConfiguration(id: MemberID(2)),
      restored: restored,
      seed: 3
    )
    var snapshot: SnapshotMetadata?
    for _ in 0..<20 where snapshot == nil {
      leader.tick()
      for message in settle(&leader) where message.to == MemberID(2) {
        snapshot = message.snapshot ?? snapshot
        if message.kind != .snapshot { try joiner.step(message) }
      }
      for message in settle(&joiner) { try leader.step(message) }
      #expect(joiner.lastIndex == .zero)
    }
    let sent = try #require(snapshot)
    #expect(sent.confState.learners == [MemberID(2)])
    var message = Message(.snapshot, from: MemberID(1), to: MemberID(2), term: leader.term)
    message.snapshot = sent
    try joiner.step(message)
    #expect(joiner.awaitsSnapshot == false)
    #expect(joiner.confState == leader.confState)
  }

  @Test("a state that awaits a snapshot holds nothing else")
  func restored() throws {
    var restored = RestoredState(confState: ConfState(voters: [MemberID(1)]))
    restored.awaitsSnapshot = true
    #expect(throws: RestoreError.membership) {
      _ = try RaftNode(
        configuration: RaftConfiguration(id: MemberID(1)),
        restored: restored,
        seed: 1
      )
    }
  }

  /// Carries out Readys, every write durable at once and every entry applied, and returns what was
  /// to be sent.
  @discardableResult
  private func settle(_ node: inout RaftNode) -> [Message] {
    var messages: [Message] = []
    while node.hasReady {
      let ready = node.ready()
      messages += ready.messages
      node.persisted(through: ready.sequence)
      messages += ready.messagesAfterPersist
      if let last = ready.committedEntries.last { node.applied(through: last.index) }
    }
    return messages
  }
}
