import Base
import Log
import MVCC
import Proto
import Replica
import Storage
import Testing

/// A compaction whose removal of revisions a crash interrupts.
struct InterruptedCompactionTests {
  /// Runs the member's threads until nothing is left to do.
  private func settle(_ member: SteppedMember) throws {
    for _ in 0..<200 {
      member.machine.tick()
      member.turn()
      while !member.undurable.isEmpty {
        member.append()
        member.sync()
      }
      member.sync()
      while !member.reports.isEmpty { member.deliverReport() }
      member.stepFlush()
      try member.stepCompaction(limit: 1000)
    }
    #expect(member.isIdle)
  }

  @Test func itGoesOnAfterTheRestart() throws {
    let files = SimulatedFileSystem(seed: 1)
    let disk = MemoryDisk()
    var member = try SteppedMember(files: files, disk: disk, epoch: 1, seed: 1)
    try settle(member)
    var batch = ProposalBatch(epoch: 1)
    for value in 0..<20 {
      let put = Etcdserverpb.PutRequest(key: [1], value: [UInt8(value)]).encoded()
      put.withUnsafeBytes { batch.append(.put, handle: .none, request: $0) }
    }
    let compaction = Etcdserverpb.CompactionRequest(revision: 20).encoded()
    compaction.withUnsafeBytes { batch.append(.compaction, handle: .none, request: $0) }
    member.machine.receive(proposals: batch.take())
    // All of it is applied and flushed, and no step of the removal is taken.
    for _ in 0..<4 {
      member.turn()
      while !member.undurable.isEmpty {
        member.append()
        member.sync()
      }
      while !member.reports.isEmpty { member.deliverReport() }
    }
    #expect(member.isCompacting)
    member.seal()
    member.stepFlush()
    member.stepFlush()

    files.crash()
    member = try SteppedMember(files: files, disk: disk, epoch: 2, seed: 2)
    #expect(member.store.compactedRevision == Revision(20))
    try settle(member)
    let isLeft = try member.store.compactionStep(limit: 1)
    #expect(!isLeft, "revisions below the compacted one stay until the next compaction")
  }
}
