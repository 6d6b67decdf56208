import Base
import MVCC
import Proto
import Raft
import Replica
import Storage
import Testing

/// Alarms in the machine, what is kept of them, and the bounds on what waits.
struct AlarmTests {
  static func alarm(
    _ action: Etcdserverpb.AlarmRequest.AlarmAction,
    _ type: Etcdserverpb.AlarmType,
    member: UInt64 = 1
  ) -> [UInt8] {
    Etcdserverpb.AlarmRequest(action: action, memberID: member, alarm: type).encoded()
  }

  static func call(_ number: UInt64) -> RequestHandle {
    // No call has the number 0.
    RequestHandle(loop: 0, call: number + 1)
  }

  @Test func anEntryBehindTheAlarmIsRefusedWhereverItWasProposed() throws {
    let member = try DirectMember()
    member.lead()
    // All in one block of the log: what comes before the alarm goes through.
    member.propose(.put, MachineTests.put("a").encoded(), Self.call(1))
    member.propose(.alarm, Self.alarm(.activate, .nospace), Self.call(2))
    member.propose(.put, MachineTests.put("b").encoded(), Self.call(3))
    let delete = Etcdserverpb.DeleteRangeRequest(key: Array("a".utf8))
    member.propose(.deleteRange, delete.encoded(), Self.call(4))
    member.propose(.alarm, Self.alarm(.activate, .corrupt), Self.call(5))
    member.propose(.deleteRange, delete.encoded(), Self.call(6))
    member.propose(.alarm, Self.alarm(.deactivate, .corrupt), Self.call(7))
    member.propose(.alarm, Self.alarm(.deactivate, .nospace), Self.call(8))
    member.propose(.put, MachineTests.put("c").encoded(), Self.call(9))
    member.run()
    #expect(member.answers.map(\.call) == Array(2...10))
    #expect(
      member.answers.map(\.error) == [nil, nil, .noSpace, nil, nil, .corrupt, nil, nil, nil]
    )
    #expect(member.store.currentRevision == Revision(4))
    #expect(member.machine.alarmsVersion == 4)
  }

  @Test func alarmsAreStoredWithTheStateTheyBelongTo() throws {
    let disk = MemoryDisk()
    let member = try DirectMember(disk: disk)
    member.lead()
    let storage = MemoryStorage(disk: disk)
    func flush() throws -> AlarmTable? {
      let flush = try #require(member.machine.seal())
      try flush.job.run()
      member.store.finish(flush.job)
      member.machine.flushed(to: flush.mark)
      member.run()
      return try storage.metadata(AlarmTable.metadataKey).map { try AlarmTable(decoding: $0) }
    }
    #expect(try flush() == nil)
    member.propose(.alarm, Self.alarm(.activate, .nospace, member: 9), .none)
    member.propose(.alarm, Self.alarm(.activate, .nospace, member: 3), .none)
    member.run()
    let raised = try flush()
    #expect(raised == member.machine.alarms)
    #expect(raised?.alarms.map(\.memberID) == [MemberID(3), MemberID(9)])
    member.propose(.put, MachineTests.put("a").encoded(), .none)
    member.run()
    #expect(try flush() == raised, "an unchanged table is not forgotten")
    member.propose(.alarm, Self.alarm(.deactivate, .nospace, member: 9), .none)
    member.propose(.alarm, Self.alarm(.deactivate, .nospace, member: 3), .none)
    member.run()
    #expect(try flush() == AlarmTable())
  }

  @Test func theTableIsBounded() throws {
    var table = AlarmTable()
    let raised = (0..<AlarmTable.alarmsMax).map {
      table.raise(.init(MemberID(UInt64($0)), .nospace))
    }
    #expect(raised.allSatisfy { $0 })
    let isTooMany = !table.raise(.init(MemberID(.max), .nospace))
    let isKnown = table.raise(.init(MemberID(0), .nospace))
    #expect(isTooMany && isKnown)
    let isDisarmed = table.disarm(.init(MemberID(5), .nospace))
    let hasRoom = table.raise(.init(MemberID(.max), .corrupt))
    #expect(isDisarmed && hasRoom)
    #expect(try AlarmTable(decoding: table.encoded()) == table)
  }

  @Test func downgradesAreStoredAndHappenOneAtATime() throws {
    let disk = MemoryDisk()
    let member = try DirectMember(disk: disk)
    member.lead()
    let job = DowngradeJob(targetVersion: "3.5.0")
    for (number, wanted) in [job, job, nil, nil, job].enumerated() {
      let request = DowngradeJob.encoded(wanted)
      member.propose(.downgradeInfoSet, request, Self.call(UInt64(number)))
    }
    member.run()
    #expect(member.answers.map(\.error) == [nil, .downgradeInProgress, nil, .noDowngrade, nil])
    let flush = try #require(member.machine.seal())
    try flush.job.run()
    let stored = try #require(try MemoryStorage(disk: disk).metadata(DowngradeJob.metadataKey))
    #expect(try DowngradeJob.decode(stored) == job)
  }

  @Test func clientsAreRefusedWhileTooManyEntriesWaitAndTheMemberIsNot() throws {
    let member = try DirectMember { $0.unappliedEntriesMax = 10 }
    member.lead()
    // Nothing becomes durable, so nothing is applied.
    for number in 0..<20 {
      member.propose(.put, MachineTests.put("a").encoded(), Self.call(UInt64(number)))
    }
    var held = member.turn().writes
    #expect(member.answers.map(\.call) == Array(11...20))
    #expect(member.answers.allSatisfy { $0.error == .tooManyRequests })
    var own = ProposalBatch(epoch: DirectMember.epoch)
    Self.alarm(.activate, .nospace).withUnsafeBytes {
      own.append(.alarm, handle: .none, request: $0)
    }
    member.machine.receive(proposals: own.take(), isUrgent: true)
    held += member.turn().writes
    let last = try #require(held.last)
    member.machine.persisted(through: last.sequence)
    member.run()
    #expect(member.machine.alarms.hasNoSpace)
    #expect(member.answers.filter { $0.error == nil }.map(\.call) == Array(1...10))
    // And it recovers.
    member.propose(.alarm, Self.alarm(.deactivate, .nospace), Self.call(99))
    member.run()
    #expect(member.answers.last?.error == nil && member.answers.last?.call == 100)
  }

  @Test func clientsDoNotUseUpWhatIsKeptForTheMember() throws {
    let member = try DirectMember {
      $0.raft.uncommittedBytesMax = 20_000
      $0.urgentBytesReserved = 10_000
    }
    member.lead()
    let big = MachineTests.put("a", String(repeating: "x", count: 3000)).encoded()
    for number in 0..<20 { member.propose(.put, big, Self.call(UInt64(number))) }
    _ = member.turn()
    #expect(member.answers.map(\.call) == Array(5...20), "four reach 10,000 bytes")
    var own = ProposalBatch(epoch: DirectMember.epoch)
    let handle = Self.call(77)
    Self.alarm(.get, .none).withUnsafeBytes { own.append(.alarm, handle: handle, request: $0) }
    member.machine.receive(proposals: own.take(), isUrgent: true)
    _ = member.turn()
    #expect(!member.answers.contains { $0.call == 78 }, "it is on its way")
  }

  @Test func requestsThatChangeNothingDoNotMakeTheLogGrow() throws {
    let member = try DirectMember { $0.unsealedLogBytesMax = 2000 }
    member.lead()
    let delete = Etcdserverpb.DeleteRangeRequest(key: Array("nothing".utf8)).encoded()
    var flushes = 0
    for _ in 0..<200 {
      member.propose(.deleteRange, delete, .none)
      for output in member.run() {
        guard let flush = output.flush else { continue }
        flushes += 1
        try flush.job.run()
        member.store.finish(flush.job)
        member.machine.flushed(to: flush.mark)
      }
    }
    #expect((2...20).contains(flushes), "\(flushes) flushes")
  }
}
