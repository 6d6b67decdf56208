import Base
import Raft
import Testing

/// The rules of membership changes (dissertation, chapter 4) that the transcripts do not show.
@Suite struct MembershipRuleTests {
  private static func change(_ kind: ConfChange.Kind, _ member: UInt64) -> ConfChange {
    ConfChange(changes: [.init(kind, MemberID(member))])
  }

  /// Member 1 as a follower of 2 that knows of a committed change which is not applied.
  private static func makePending() throws -> RaftNode {
    var node = try makeNode()
    var entries = makeEntries([1])
    entries.append(
      Entry(
        term: Term(1),
        index: LogIndex(2),
        payload: .configuration(change(.addVoter, 4))
      )
    )
    try node.step(makeMessage(.app, term: 1, commit: 2, entries: entries))
    let ready = node.ready()
    node.persisted(through: ready.sequence)
    return node
  }

  @Test("A member with a committed change that is not applied does not campaign")
  func noCampaignBeforeApply() throws {
    var node = try Self.makePending()
    node.campaign()
    for _ in 0..<100 { node.tick() }
    #expect(node.role == .follower && node.term == Term(1))
    _ = node.drain()
    node.campaign()
    #expect(node.role == .candidate && node.term == Term(2))
    #expect(node.drain().filter { $0.kind == .vote }.count == 3)
  }

  @Test("A member that is to take over does so once the change is applied")
  func takesOverAfterApply() throws {
    var node = try Self.makePending()
    try node.step(makeMessage(.timeoutNow, term: 1))
    #expect(node.role == .follower)
    let requests = node.drain().filter { $0.kind == .vote }
    #expect(node.role == .candidate && requests.count == 3)
    #expect(requests.allSatisfy { $0.context == Message.contextTransfer })
    // Not when the term has gone on in between.
    var late = try Self.makePending()
    try late.step(makeMessage(.timeoutNow, term: 1))
    try late.step(makeMessage(.heartbeat, from: 3, term: 2))
    _ = late.drain()
    #expect(late.role == .follower)
  }

  @Test("A follower's hard state carries the commit index in the same unit as the entries")
  func commitComesWithEntries() throws {
    var node = try makeNode(terms: [1], term: 1)
    try node.step(
      makeMessage(
        .app,
        term: 1,
        index: 1,
        logTerm: 1,
        commit: 1,
        entries: makeEntries([1], after: 1)
      )
    )
    let ready = node.ready()
    #expect(ready.entriesToAppend.count == 1 && ready.hardState?.commit == LogIndex(1))
  }

  @Test("A new leader refuses changes until one that it may not know to be committed is applied")
  func newLeaderWaits() throws {
    var configuration = RaftConfiguration(id: MemberID(1))
    configuration.preVote = false
    let pending = Entry(
      term: Term(1),
      index: LogIndex(1),
      payload: .configuration(Self.change(.addVoter, 3))
    )
    let restored = RestoredState(
      hardState: HardState(term: Term(1)),
      confState: ConfState(voters: [MemberID(1), MemberID(2)]),
      entries: [pending]
    )
    var node = try RaftNode(configuration: configuration, restored: restored, seed: 1)
    try node.lead()
    _ = node.drain()
    #expect(throws: ProposeError.configurationPending) {
      try node.propose(Self.change(.removeNode, 2))
    }
    try node.step(makeMessage(.appResp, term: 2, index: 2))
    _ = node.drain()
    #expect(node.confState.voters.count == 3)
    #expect(try node.propose(Self.change(.removeNode, 2)) == LogIndex(3))
  }

  @Test("A change that the owner refuses at apply leaves the membership and frees the next one")
  func refusedChange() throws {
    var node = try makeNode(voters: 1...1)
    try node.lead()
    _ = node.drain()
    let before = node.confState
    try node.propose(Self.change(.addVoter, 2))
    while node.hasReady {
      let ready = node.ready()
      node.persisted(through: ready.sequence)
      if let last = ready.committedEntries.last { node.applied(through: last.index) }
    }
    #expect(node.confState == before)
    #expect(try node.propose(Self.change(.addLearner, 2)) != nil)
  }

  @Test("Changes that cannot be made are refused when proposed, and without effect when applied")
  func invalidChanges() throws {
    var node = try makeNode(voters: 1...1)
    try node.lead()
    _ = node.drain()
    for change in [
      Self.change(.removeNode, 1), Self.change(.addLearner, 1), .leaveJoint,
      ConfChange(
        changes: Array(repeating: .init(.addVoter, MemberID(2)), count: ConfChange.changesMax + 1)
      ),
    ] {
      #expect(throws: ProposeError.configurationInvalid) { try node.propose(change) }
      #expect(node.applyConfChange(change) == ConfState(voters: [MemberID(1)]))
    }
  }

  @Test("An outgoing voter that is to be a learner becomes one when the joint configuration ends")
  func learnersNext() throws {
    let start = ConfState(voters: [MemberID(1), MemberID(2), MemberID(3)])
    let joint = try ConfChanger.apply(
      ConfChange(changes: [.init(.addLearner, MemberID(3)), .init(.addVoter, MemberID(4))]),
      to: start
    )
    #expect(joint.voters == [MemberID(1), MemberID(2), MemberID(4)])
    #expect(joint.votersOutgoing == start.voters && joint.learners.isEmpty && joint.autoLeave)
    #expect(joint.learnersNext == [MemberID(3)])
    let end = try ConfChanger.apply(.leaveJoint, to: joint)
    #expect(
      end == ConfState(voters: [MemberID(1), MemberID(2), MemberID(4)], learners: [MemberID(3)])
    )
  }

  @Test("A voter that knows the removal is committed tells the candidate that does not")
  func voterTellsCommit() throws {
    // Two voters; 2 was the leader, knows that its own removal is committed, and has more entries.
    var configuration = RaftConfiguration(id: MemberID(1))
    configuration.preVote = false
    let removal = Entry(
      term: Term(1),
      index: LogIndex(1),
      payload: .configuration(Self.change(.removeNode, 2))
    )
    let restored = RestoredState(
      hardState: HardState(term: Term(1)),
      confState: ConfState(voters: [MemberID(1), MemberID(2)]),
      entries: [removal]
    )
    var node = try RaftNode(configuration: configuration, restored: restored, seed: 1)
    node.campaign()
    _ = node.drain()
    var answer = makeMessage(.voteResp, term: 2, logTerm: 1, commit: 1, reject: true)
    try node.step(answer)
    _ = node.drain()
    #expect(node.confState.voters == [MemberID(1)])
    node.campaign()
    _ = node.drain()
    #expect(node.role == .leader)
    // A commit of an entry that this log does not have is no news.
    var other = try makeNode(terms: [2], term: 2)
    other.campaign()
    answer.term = Term(3)
    try other.step(answer)
    #expect(other.commit == .zero)
  }
}
