import Base
import MVCC
import Membership
import Proto
import Raft
import Replica
import Storage
import Testing

/// The machine by itself, its writes reported durable at once.
struct MachineTests {
  static func put(_ key: String, _ value: String = "v") -> Etcdserverpb.PutRequest {
    Etcdserverpb.PutRequest(key: Array(key.utf8), value: Array(value.utf8))
  }

  @Test func answersGoToTheLoopAndCallThatAsked() throws {
    let member = try DirectMember(loopCount: 3)
    member.lead()
    member.propose(.put, Self.put("a").encoded(), RequestHandle(loop: 2, call: 40))
    member.propose(.put, Self.put("b").encoded(), RequestHandle(loop: 0, call: 41))
    member.run()
    #expect(member.answers.map(\.loop).sorted() == [0, 2])
    #expect(member.answers.first { $0.loop == 2 }?.call == 40)
    let reply = try #require(member.answers.first { $0.loop == 0 }?.message)
    #expect(try Etcdserverpb.PutResponse(decoding: reply).header?.revision == 3)
  }

  @Test func nothingIsAnsweredBeforeItIsDurable() throws {
    let member = try DirectMember()
    member.lead()
    member.propose(.put, Self.put("a").encoded(), RequestHandle(loop: 0, call: 1))
    let writes = member.turn().writes
    #expect(writes.count == 1)
    #expect(member.answers.isEmpty)
    #expect(member.store.currentRevision == Revision(1))
    _ = member.turn()
    #expect(member.answers.isEmpty)
    member.machine.persisted(through: writes[0].sequence)
    _ = member.turn()
    #expect(member.answers.map(\.call) == [1])
  }

  @Test func reportsOutOfOrderDoNotRunAhead() throws {
    let member = try DirectMember()
    member.lead()
    member.propose(.put, Self.put("a").encoded(), RequestHandle(loop: 0, call: 1))
    let first = member.turn().writes
    member.propose(.put, Self.put("b").encoded(), RequestHandle(loop: 0, call: 2))
    let second = member.turn().writes
    try #require(first.count == 1 && second.count == 1)
    member.machine.persisted(through: first[0].sequence)
    _ = member.turn()
    #expect(member.answers.map(\.call) == [1])
    member.machine.persisted(through: second[0].sequence)
    _ = member.turn()
    #expect(member.answers.map(\.call) == [1, 2])
  }

  @Test func aForeignEpochIsAppliedAndNotAnswered() throws {
    let member = try DirectMember()
    member.lead()
    member.propose(
      .put,
      Self.put("a").encoded(),
      RequestHandle(loop: 0, call: 1),
      epoch: DirectMember.epoch + 1
    )
    member.run()
    #expect(member.answers.isEmpty)
    #expect(member.store.currentRevision == Revision(2))
    // Nor is one that names a loop that is not there.
    member.propose(.put, Self.put("a").encoded(), RequestHandle(loop: 9, call: 1))
    member.run()
    #expect(member.answers.isEmpty)
    #expect(member.store.currentRevision == Revision(3))
  }

  @Test func unknownFieldsAreSkipped() throws {
    let member = try DirectMember()
    member.lead()
    var writer = ByteWriter()
    writer.append(field: 2000, varint: UInt64(3))
    writer.append(field: 1, varint: RequestHandle(loop: 0, call: 6).rawValue)
    let request = Self.put("a").encoded()
    request.withUnsafeBytes { writer.append(field: 4, content: $0) }
    request.withUnsafeBytes { writer.append(field: 1999, content: $0) }
    let header = Etcdserverpb.RequestHeader(id: DirectMember.epoch, username: "someone")
    header.encoded().withUnsafeBytes { writer.append(field: 100, content: $0) }
    member.propose(entry: [UInt8](writer.bytes))
    member.run()
    #expect(member.answers.map(\.call) == [6])
    #expect(member.store.currentRevision == Revision(2))
  }

  @Test func whatIsNoRequestChangesNothing() throws {
    let member = try DirectMember()
    member.lead()
    let entries: [[UInt8]] = [
      [0xff], [0x22, 0x7f], [0x08, 0x01], Array("not protobuf at all".utf8),
      // A put whose content does not decode, and a member's attributes without any.
      [0x22, 0x02, 0x0a, 0x7f], Membershippb.ClusterMemberAttrSetRequest().encoded(),
    ]
    let applied = member.machine.status.applied
    for entry in entries { member.propose(entry: entry) }
    member.run()
    #expect(member.machine.status.applied == applied + UInt64(entries.count))
    #expect(member.store.currentRevision == Revision(1))
    #expect(member.answers.isEmpty)
  }

  @Test func errorsOfTheStoreAreAnswered() throws {
    let member = try DirectMember()
    member.lead()
    var put = Self.put("a")
    put.lease = 5
    member.propose(.put, put.encoded(), RequestHandle(loop: 0, call: 1))
    let future = Etcdserverpb.CompactionRequest(revision: 99)
    member.propose(.compaction, future.encoded(), RequestHandle(loop: 0, call: 2))
    member.propose(.put, Self.put("b").encoded(), RequestHandle(loop: 0, call: 3))
    member.run()
    #expect(member.answers.map(\.error) == [.leaseNotFound, .futureRevision, nil])
  }

  @Test func withoutALeaderProposalsAreRefused() throws {
    let member = try DirectMember()
    // The vote is not durable yet.
    _ = member.turn()
    member.propose(.put, Self.put("a").encoded(), RequestHandle(loop: 0, call: 1))
    _ = member.turn()
    #expect(member.answers.map(\.error) == [.noLeader])
    #expect(member.machine.status.proposalsFailed == 1)
    #expect(!member.machine.requestRead(1))
  }

  @Test func theMemberPublishesItselfOnce() throws {
    let member = try DirectMember()
    #expect(member.machine.members[DirectMember.id]?.clientURLs == [])
    member.lead()
    #expect(member.machine.members[DirectMember.id]?.name == "m")
    #expect(member.machine.members[DirectMember.id]?.clientURLs == ["http://localhost:2379"])
    #expect(member.machine.membersVersion == 1)
    let applied = member.machine.status.applied
    for _ in 0..<50 {
      member.machine.tick()
      member.run()
    }
    #expect(member.machine.status.applied == applied)
  }

  @Test func aFailingLogStopsLeadershipUntilItIsBack() throws {
    let member = try DirectMember()
    member.lead()
    #expect(member.machine.status.readsAreLocal)
    member.propose(.put, Self.put("a").encoded(), RequestHandle(loop: 0, call: 1))
    let lost = member.turn().writes
    member.machine.logFailed()
    var writes = lost + member.turn().writes
    #expect(member.machine.status.role != .leader)
    #expect(!member.machine.status.readsAreLocal)
    member.propose(.put, Self.put("b").encoded(), RequestHandle(loop: 0, call: 2))
    _ = member.turn()
    #expect(member.answers.map(\.error) == [.noLeader])
    // It stands again, and the vote waits for the disk.
    for _ in 0..<100 {
      member.machine.tick()
      writes += member.turn().writes
    }
    #expect(member.machine.status.role != .leader)
    if let last = writes.last { member.machine.persisted(through: last.sequence) }
    member.run()
    #expect(member.machine.status.role == .leader)
    #expect(member.answers.map(\.call) == [2, 1])
    #expect(member.machine.status.leaderChanges == 2)
  }

  @Test func unappliedEntriesBoundNewProposals() throws {
    let member = try DirectMember {
      $0.storageBacklogBytesMax = 100
      $0.unappliedBytesMax = 5000
    }
    member.lead()
    let big = Self.put("a", String(repeating: "x", count: 1000)).encoded()
    for call in 0..<20 {
      member.propose(.put, big, RequestHandle(loop: 0, call: UInt64(call)))
      member.run()
    }
    // One batch goes over the bound of the memtable; then nothing is applied.
    #expect(member.answers.contains { $0.error == .tooManyRequests })
    let flush = try #require(member.machine.seal())
    try flush.job.run()
    member.store.finish(flush.job)
    member.machine.flushed(to: flush.mark)
    let output = member.run()
    #expect(output.contains { $0.release?.index == flush.mark.index })
    #expect(member.answers.filter { $0.error == nil }.count > 1)
  }

  @Test func aPhysicalCompactionIsAnsweredWhenTheDiskIsDone() throws {
    let member = try DirectMember()
    member.lead()
    for value in ["1", "2", "3"] {
      member.propose(.put, Self.put("a", value).encoded(), .none)
    }
    let compaction = Etcdserverpb.CompactionRequest(revision: 3, physical: true)
    member.propose(.compaction, compaction.encoded(), RequestHandle(loop: 0, call: 1))
    let outputs = member.run()
    #expect(outputs.contains { $0.hasCompaction })
    #expect(member.answers.isEmpty)
    member.machine.compacted(to: Revision(2))
    member.run()
    #expect(member.answers.isEmpty)
    member.machine.compacted(to: Revision(3))
    member.run()
    #expect(member.answers.map(\.call) == [1])
    #expect(member.answers[0].error == nil)
  }

  @Test func sealTakesOnlyWhatIsNew() throws {
    let member = try DirectMember()
    member.lead()
    let flush = try #require(member.machine.seal())
    #expect(flush.mark.index == member.machine.status.applied)
    #expect(member.machine.seal() == nil, "one is under way")
    try flush.job.run()
    member.store.finish(flush.job)
    member.machine.flushed(to: flush.mark)
    #expect(member.machine.seal() == nil, "nothing is new")
  }

  @Test func readsAreReadyWhenTheirIndexIsApplied() throws {
    let member = try DirectMember()
    member.lead()
    #expect(member.machine.requestRead(77))
    let outputs = member.run()
    #expect(outputs.flatMap(\.readyReads) == [77])
    #expect(outputs.flatMap(\.lostReads).isEmpty)
  }
}
