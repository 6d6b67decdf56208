import Base
import Lease
import Log
import MVCC
import Membership
import Proto
import Raft
import Replica
import Storage

/// A member of one whose threads are steps, which a test takes in any order.
final class SteppedMember {
  static let metadata = LogMetadata(clusterID: ClusterID(1), memberID: DirectMember.id)
  static let directory = "log"
  /// As small as can be, so that segments are sealed, released and used again all the time.
  static let logConfiguration = LogConfiguration(
    segmentBytesMax: 8 << 10,
    firstSegmentBytes: 8 << 10,
    spareBytesMax: 8 << 10,
    readBlockBytes: 8 << 10
  )

  let disk: MemoryStorage
  let store: Store
  let reader: StoreReader
  let log: SegmentedLog<SimulatedFileSystem>
  let machine: ReplicaMachine
  let epoch: UInt64
  /// How far the store was when it was opened.
  let restoredIndex: LogIndex

  // The log writer's.
  private(set) var undurable: [ReplicaOutput.Write] = []
  private var appendedCount = 0
  private(set) var release: LogMark?
  private(set) var isStalled = false
  /// Reports on their way to the machine.
  private(set) var reports: [UInt64] = []

  // The housekeeper's.
  private(set) var flush: (work: ReplicaOutput.Flush, isCommitted: Bool)?
  private(set) var isCompacting = false

  /// Opens the files as `OpenedMember` does.
  init(
    files: SimulatedFileSystem,
    disk: MemoryDisk,
    epoch: UInt64,
    seed: UInt64
  ) throws {
    self.disk = MemoryStorage(disk: disk)
    self.epoch = epoch
    let storage = TieredStorage(over: self.disk)
    let leases = LeaseRegistry()
    try leases.restore(from: storage)
    store = try Store(storage: storage, leases: leases)
    reader = store.makeReader()
    let recovered: RecoveredLog
    (log, recovered) = try SegmentedLog.open(
      directory: Self.directory,
      files: files,
      configuration: Self.logConfiguration,
      metadata: Self.metadata
    )
    let base = self.disk
    let stored =
      try StoredMetadata { try base.metadata($0) }
      ?? StoredMetadata(founding: try DirectMember.founding())
    var configuration = ReplicaConfiguration(
      memberID: DirectMember.id,
      epoch: epoch,
      loopCount: 2,
      name: "m",
      clientURLs: ["http://localhost:2379"]
    )
    configuration.memtableBytesMax = 2 << 10
    configuration.storageBacklogBytesMax = 6 << 10
    configuration.unappliedBytesMax = 16 << 10
    configuration.unstoredLeasesMax = 6
    configuration.leaseExtensionNanoseconds = 1_000_000_000
    configuration.catchUpEntriesMax = 20
    configuration.catchUpBytesMax = 4 << 10
    restoredIndex = stored.applied.index
    machine = try ReplicaMachine(
      configuration,
      store: store,
      tables: ReplicatedTables(members: stored.members, leases: leases),
      restored: Recovery.restoredState(log: recovered, applied: stored.applied),
      appliedTerm: stored.applied.term,
      seed: seed
    )
  }

  /// Takes a turn and hands its work to the steps.
  func turn() {
    let output = machine.turn()
    undurable += output.writes
    if let mark = output.release { release = mark }
    if let work = output.flush { start(work) }
    if output.hasCompaction { isCompacting = true }
  }

  /// Closes the memtable whatever it holds, as a snapshot does.
  func seal() {
    if let work = machine.seal() { start(work) }
  }

  private func start(_ work: ReplicaOutput.Flush) {
    precondition(flush == nil, "two flushes at a time")
    flush = (work, false)
  }

  // MARK: The log writer

  func append() {
    guard !isStalled, appendedCount < undurable.count else { return }
    do throws(LogError) {
      try log.append(undurable[appendedCount].batch)
      appendedCount += 1
    } catch {
      stall()
    }
  }

  /// Records the mark that waits, syncs, and reports what is durable then.
  func sync() {
    guard !isStalled else { return }
    do throws(LogError) {
      if let release {
        let mark = release.snapshotMark
        try log.recordSnapshot(index: mark.index, term: mark.term, confState: mark.confState)
      }
      try log.sync()
    } catch {
      return stall()
    }
    if appendedCount > 0 {
      reports.append(undurable[appendedCount - 1].sequence)
      undurable.removeFirst(appendedCount)
      appendedCount = 0
    }
    if let release {
      log.release(through: release.index)
      self.release = nil
    }
  }

  private func stall() {
    isStalled = true
    appendedCount = 0
    machine.logFailed()
  }

  func reopen() {
    guard isStalled else { return }
    do throws(LogError) {
      let durable = min(try log.reopen(), undurable.count)
      isStalled = false
      guard durable > 0 else { return }
      reports.append(undurable[durable - 1].sequence)
      undurable.removeFirst(durable)
    } catch {
      // Still failing: tried again at the next step.
    }
  }

  func prepareSegment() {
    guard log.needsPreparation else { return }
    try? log.preparer.prepare()
  }

  func deliverReport() {
    guard !reports.isEmpty else { return }
    machine.persisted(through: reports.removeFirst())
  }

  // MARK: The housekeeper

  /// Half a flush: the commit, or the report of it.
  func stepFlush() {
    guard let flush else { return }
    if flush.isCommitted {
      store.finish(flush.work.job)
      machine.flushed(to: flush.work.mark)
      self.flush = nil
    } else {
      do throws(StorageError) {
        try flush.work.job.run()
        self.flush?.isCommitted = true
      } catch {
        // Kept, and tried again at the next step.
      }
    }
  }

  func stepCompaction(limit: Int) throws {
    guard isCompacting else { return }
    do throws(StorageError) {
      if try store.compactionStep(limit: limit) { return }
    } catch {
      return
    }
    isCompacting = false
    machine.compacted(to: store.compactedRevision)
  }

  /// Nothing waits for a disk.
  var isIdle: Bool {
    undurable.isEmpty && reports.isEmpty && flush == nil && release == nil && !isStalled
      && !isCompacting
  }
}
