import Base
import Membership
import Proto
import Raft
import Replica
import Testing

/// Changes of the membership by the log, at one member.
struct MembershipTests {
  private static let other = MemberID(0x77)
  private static let urls = ["http://localhost:9001"]

  private static func propose(
    _ kind: MembershipChange.Kind,
    _ id: MemberID,
    to member: DirectMember,
    call: UInt64 = 1,
    learnersMax: Int = .max
  ) {
    var batch = ProposalBatch(epoch: DirectMember.epoch)
    batch.append(
      MembershipChange(kind, id, learnersMax: learnersMax),
      handle: RequestHandle(loop: 0, call: call)
    )
    member.machine.receive(membership: batch.take())
    member.run()
  }

  private static func leading() throws -> DirectMember {
    let member = try DirectMember()
    member.lead()
    return member
  }

  @Test func aLearnerIsAddedUpdatedAndRemoved() throws {
    let member = try Self.leading()
    Self.propose(.add(peerURLs: Self.urls, isLearner: true), Self.other, to: member)
    let bytes = try #require(member.answers.last?.message)
    let added = try Etcdserverpb.MemberAddResponse(decoding: bytes)
    #expect(added.member?.id == Self.other.rawValue)
    #expect(added.member?.isLearner == true)
    #expect(added.members.count == 2)
    #expect(added.header?.revision == 0)
    #expect(member.machine.members[Self.other]?.isLearner == true)
    // R13: an update never touches the flag.
    Self.propose(.update(peerURLs: ["http://localhost:9002"]), Self.other, to: member, call: 2)
    #expect(member.answers.last?.error == nil)
    #expect(member.machine.members[Self.other]?.peerURLs == ["http://localhost:9002"])
    #expect(member.machine.members[Self.other]?.isLearner == true)
    Self.propose(.remove, Self.other, to: member, call: 3)
    let removed = try #require(member.answers.last?.message)
    #expect(try Etcdserverpb.MemberRemoveResponse(decoding: removed).members.count == 1)
    #expect(member.machine.members.isRemoved(Self.other))
    // Alone again, it goes on by itself.
    member.propose(.put, MachineTests.put("a").encoded(), RequestHandle(loop: 0, call: 4))
    member.run()
    #expect(member.answers.last?.call == 4)
    #expect(member.answers.last?.error == nil)
    Self.propose(.add(peerURLs: Self.urls, isLearner: true), Self.other, to: member, call: 5)
    #expect(member.answers.last?.error == .memberNotFound)
  }

  @Test func whatCannotBeIsRefusedAndChangesNothing() throws {
    let member = try Self.leading()
    let own = DirectMember.id
    Self.propose(.add(peerURLs: Self.urls, isLearner: true), Self.other, to: member)
    let before = member.machine.members
    let cases: [(MembershipChange.Kind, UInt64, RequestError)] = [
      (.add(peerURLs: Self.urls, isLearner: false), 0x78, .peerURLExists),
      (.add(peerURLs: ["http://localhost:1"], isLearner: true), 0x78, .tooManyLearners),
      (.add(peerURLs: ["nonsense"], isLearner: false), 0x78, .badMemberURLs),
      (.add(peerURLs: ["http://localhost:1"], isLearner: false), 0x77, .memberIDExists),
      (.update(peerURLs: ["http://localhost:2380"]), 0x77, .peerURLExists),
      (.update(peerURLs: ["http://localhost:1"]), 0x99, .memberNotFound),
      (.remove, 0x99, .memberNotFound),
      (.remove, own.rawValue, .notEnoughStarted),
      (.promote, 0x99, .memberNotFound),
      (.promote, 0x77, .learnerNotReady),
      (.promote, own.rawValue, .notLearner),
    ]
    for (number, (kind, id, error)) in cases.enumerated() {
      Self.propose(
        kind,
        MemberID(id),
        to: member,
        call: UInt64(number) + 10,
        learnersMax: 1
      )
      #expect(member.answers.last?.call == UInt64(number) + 10, "\(kind)")
      #expect(member.answers.last?.error == error, "\(kind)")
    }
    #expect(member.machine.members == before)
    #expect(!member.machine.isAlone)
  }

  @Test func aVoterThatIsAddedCountsAtOnce() throws {
    let member = try Self.leading()
    Self.propose(.add(peerURLs: Self.urls, isLearner: false), Self.other, to: member)
    #expect(member.answers.last?.error == nil)
    member.answersAreDropped()
    member.propose(.put, MachineTests.put("a").encoded(), RequestHandle(loop: 0, call: 4))
    member.run()
    #expect(member.answers.isEmpty)
  }

  @Test func changesWaitForTheOneBeforeThem() throws {
    let member = try Self.leading()
    var batch = ProposalBatch(epoch: DirectMember.epoch)
    for number in 1...3 as ClosedRange<UInt64> {
      batch.append(
        MembershipChange(
          .add(peerURLs: ["http://localhost:900\(number)"], isLearner: true),
          MemberID(number)
        ),
        handle: RequestHandle(loop: 0, call: number)
      )
    }
    member.machine.receive(membership: batch.take())
    member.run()
    #expect(member.answers.map(\.call) == [1, 2, 3])
    #expect(member.answers.allSatisfy { $0.error == nil })
    #expect(member.machine.members.learners.count == 3)
  }

  @Test func theClustersVersionIsWrittenByTheLeader() throws {
    let member = try Self.leading()
    #expect(member.machine.members.clusterVersion.isEmpty)
    member.machine.agreedVersion = "3.6"
    member.machine.tick()
    member.run()
    #expect(member.machine.members.clusterVersion == "3.6")
    let decoded = try MemberTable(decoding: member.machine.members.encoded())
    #expect(decoded == member.machine.members)
  }

  @Test(arguments: [
    MembershipChange(.add(peerURLs: ["http://a:1", "http://b:1"], isLearner: true), MemberID(5)),
    MembershipChange(
      .add(peerURLs: ["http://a:1"], isLearner: false),
      MemberID(.max),
      learnersMax: 3
    ),
    MembershipChange(.remove, MemberID(1)),
    MembershipChange(.update(peerURLs: ["http://c:1"]), MemberID(7)),
    MembershipChange(.promote, MemberID(9), learnersMax: 1),
  ])
  func changesRoundTrip(_ change: MembershipChange) throws {
    let context = change.confChange.context
    #expect(context.withUnsafeBytes { MembershipChange($0) } == change)
    // Cut anywhere, it is another change or none, and never a crash.
    let bytes = context.array
    for length in 0..<bytes.count {
      _ = Array(bytes[..<length]).withUnsafeBytes { MembershipChange($0) }
    }
  }

  @Test func aConfigurationEntryOfNobodysMakingChangesNothing() throws {
    let member = try Self.leading()
    let before = member.machine.members
    var message = Message(.propose, from: MemberID(3), to: DirectMember.id, term: .zero)
    message.entries = [
      Entry(
        term: .zero,
        index: .zero,
        payload: .configuration(ConfChange(changes: [.init(.addVoter, MemberID(3))]))
      ),
      Entry(
        term: .zero,
        index: .zero,
        payload: .configuration(
          ConfChange(
            changes: [.init(.addVoter, MemberID(3))],
            context: MembershipChange(.remove, MemberID(4)).confChange.context
          )
        )
      ),
    ]
    try? member.machine.receive(message)
    member.run()
    #expect(member.machine.members == before)
    #expect(member.machine.isAlone)
  }

  // MARK: A new cluster by force

  private static func founders(_ count: Int) throws -> MemberTable {
    let text = (1...count).map { "m\($0)=http://localhost:\($0)" }.joined(separator: ",")
    return try MemberTable(founding: InitialCluster(text), token: "t")
  }

  @Test func aSurvivorGoesOnAlone() throws {
    let members = try Self.founders(3)
    let ids = members.members.map(\.id)
    var restored = RestoredState(
      hardState: HardState(term: Term(4), commit: LogIndex(1)),
      confState: ConfState(voters: ids)
    )
    let joiner = MembershipChange(
      .add(peerURLs: ["http://localhost:9"], isLearner: true),
      MemberID(9)
    )
    restored.entries = [
      Entry(term: Term(2), index: LogIndex(1), payload: .empty),
      Entry(term: Term(4), index: LogIndex(2), payload: .configuration(joiner.confChange)),
    ]
    let added = try Recovery.forceNewCluster(of: ids[1], members: members, &restored)
    #expect(added.map(\.index) == [3, 4, 5].map { LogIndex($0) })
    #expect(added.allSatisfy { $0.term == Term(4) })
    #expect(restored.hardState.commit == LogIndex(5))
    var (table, state) = (members, restored.confState)
    for entry in restored.entries {
      guard case .configuration(let change) = entry.payload else { continue }
      let membership = try #require(change.context.withUnsafeBytes { MembershipChange($0) })
      try membership.make(in: &table, &state)
    }
    #expect(state == ConfState(voters: [ids[1]]))
    #expect(table.members.map(\.id) == [ids[1]])
    #expect(table.removedIDs == [ids[0], ids[2], MemberID(9)].sorted())
    // Started by force again, it has nothing to do.
    #expect(try Recovery.forceNewCluster(of: ids[1], members: members, &restored).isEmpty)
  }

  @Test func aLearnerThatGoesOnAloneVotes() throws {
    var members = try Self.founders(1)
    let own = MemberID(9)
    try members.add(Member(id: own, peerURLs: ["http://localhost:9"], isLearner: true))
    var restored = RestoredState(
      confState: ConfState(voters: [members.voters[0].id], learners: [own])
    )
    let added = try Recovery.forceNewCluster(of: own, members: members, &restored)
    #expect(added.count == 2)
    #expect(restored.hardState.term == Term(1))
    #expect(throws: Recovery.NewClusterFailure.notAMember) {
      try Recovery.forceNewCluster(of: MemberID(55), members: members, &restored)
    }
  }
}
