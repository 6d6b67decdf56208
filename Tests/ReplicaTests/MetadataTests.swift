import Base
import Log
import Membership
import Proto
import Raft
import Replica
import Testing

/// What stands beside the key-value data, and the raftpb forms.
struct MetadataTests {
  static let joint = ConfState(
    voters: [MemberID(1), MemberID(2)],
    learners: [MemberID(.max)],
    votersOutgoing: [MemberID(2), MemberID(3)],
    learnersNext: [MemberID(3)],
    autoLeave: true
  )

  @Test(arguments: [ConfState(), ConfState(voters: [MemberID(5)]), joint])
  func confStatesRoundTrip(_ state: ConfState) throws {
    let bytes = Raftpb.ConfState(state).encoded()
    #expect(ConfState(try Raftpb.ConfState(decoding: bytes)) == state)
  }

  @Test func confStateFieldsAreThoseOfRaftpb() {
    let message = Raftpb.ConfState(Self.joint)
    #expect(message.voters == [1, 2])
    #expect(message.learners == [.max])
    #expect(message.votersOutgoing == [2, 3])
    #expect(message.learnersNext == [3])
    #expect(message.autoLeave)
  }

  @Test(arguments: [
    ConfChange.leaveJoint,
    ConfChange(changes: [.init(.removeNode, MemberID(3))]),
    ConfChange(
      transition: .jointExplicit,
      changes: [
        .init(.addVoter, MemberID(1)), .init(.removeNode, MemberID(2)),
        .init(.updateNode, MemberID(3)), .init(.addLearner, MemberID(4)),
      ],
      context: SharedBytes([0, 1, 255])
    ),
    ConfChange(transition: .jointImplicit, changes: [.init(.addVoter, MemberID(.max))]),
  ])
  func confChangesRoundTrip(_ change: ConfChange) throws {
    let bytes = Raftpb.ConfChangeV2(change).encoded()
    #expect(ConfChange(try Raftpb.ConfChangeV2(decoding: bytes)) == change)
  }

  @Test(arguments: [Int32(-1), 4, 256, .max])
  func unknownKindsOfChangesGiveNone(_ number: Int32) {
    var message = Raftpb.ConfChangeV2(ConfChange(changes: [.init(.addVoter, MemberID(1))]))
    message.changes[0].type = Raftpb.ConfChangeType(rawValue: number)
    #expect(ConfChange(message) == nil)
    message.changes = []
    message.transition = Raftpb.ConfChangeTransition(rawValue: number)
    #expect(ConfChange(message) == nil)
  }

  @Test func storedMetadataRoundTrips() throws {
    var members = try DirectMember.founding()
    try members.setAttributes(DirectMember.id, name: "m", clientURLs: ["http://h:1"])
    try members.add(Member(id: MemberID(99), peerURLs: ["http://x:1"], isLearner: true))
    try members.remove(MemberID(99))
    var metadata = StoredMetadata(founding: members)
    metadata.applied.index = LogIndex(1 << 40)
    metadata.applied.term = Term(.max)
    metadata.applied.confState = Self.joint
    let stored = Dictionary(
      uniqueKeysWithValues: metadata.encoded().map { ($0.key, $0.value ?? []) }
    )
    #expect(Set(stored.keys) == [StoredMetadata.appliedKey, StoredMetadata.membersKey])
    let read = try #require(try StoredMetadata { stored[$0] })
    #expect(read.members == members)
    #expect(read.applied.index == LogIndex(1 << 40))
    #expect(read.applied.term == Term(.max))
    #expect(read.applied.confState == Self.joint)
  }

  @Test func aFoundingMemberVotesAndHasAppliedNothing() throws {
    let metadata = StoredMetadata(founding: try DirectMember.founding())
    #expect(metadata.applied.index == .zero)
    #expect(metadata.applied.term == .zero)
    #expect(metadata.applied.confState == ConfState(voters: [DirectMember.id]))
  }

  @Test func nothingStoredIsNil() throws {
    #expect(try StoredMetadata { _ in nil } == nil)
    let members = try DirectMember.founding().encoded()
    #expect(try StoredMetadata { $0 == StoredMetadata.membersKey ? members : nil } == nil)
  }

  @Test func damagedMetadataThrows() throws {
    let members = try DirectMember.founding().encoded()
    #expect(throws: DecodeError.self) {
      _ = try StoredMetadata { $0 == StoredMetadata.membersKey ? members : [0x12, 0x7f] }
    }
    #expect(throws: MemberTableDecodeError.self) {
      _ = try StoredMetadata { $0 == StoredMetadata.membersKey ? [0xff] : [] }
    }
    #expect(throws: CancellationError.self) {
      _ = try StoredMetadata { _ in throw CancellationError() }
    }
  }

  @Test func theLogsMarkHoldsTheConfState() throws {
    var mark = StoredMetadata(founding: try DirectMember.founding()).applied
    mark.index = LogIndex(8)
    mark.term = Term(3)
    mark.confState = Self.joint
    let snapshot = mark.snapshotMark
    #expect(snapshot.index == LogIndex(8))
    #expect(snapshot.term == Term(3))
    #expect(!snapshot.replacesLog)
    #expect(ConfState(try Raftpb.ConfState(decoding: snapshot.confState.array)) == Self.joint)
  }
}
