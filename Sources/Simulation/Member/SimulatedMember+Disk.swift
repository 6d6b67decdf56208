import Base
import Log
import MVCC
import Replica
import Storage

// The log writer and the housekeeper of a simulated member.
extension SimulatedMember {
  /// How long the log writer waits before it tries a refusing disk again, in nanoseconds.
  private static let retryNanoseconds: UInt64 = 250_000_000

  /// Appends all that waits, and syncs a little later: what comes meanwhile waits for the next time.
  func write() {
    guard !isWriting, !isStalled, !undurable.isEmpty || release != nil else { return }
    do throws(LogError) {
      while appendedCount < undurable.count {
        try log.append(undurable[appendedCount].batch)
        appendedCount += 1
      }
    } catch {
      return stall()
    }
    isWriting = true
    // A mark must not overtake what was to be written before it.
    releaseUnderWay = release
    if broken == .ackBeforeSync, appendedCount > 0 {
      let sequence = undurable[appendedCount - 1].sequence
      later(1000) { $0.machine.persisted(through: sequence) }
    }
    let wait = UInt64(50 + simulation.random.below(node.syncMicrosecondsMax)) * 1000
    later(wait) { try $0.sync() }
  }

  private func sync() throws {
    isWriting = false
    guard !isStalled else { return }
    do throws(LogError) {
      if let mark = releaseUnderWay {
        try log.recordSnapshot(index: mark.index, term: mark.term, confState: mark.confState)
      }
      try log.sync()
    } catch {
      if broken == .failedSyncCounts, appendedCount > 0 {
        machine.persisted(through: undurable[appendedCount - 1].sequence)
        // The log must not be written to in this state.
        return simulation.crashLater(node)
      }
      return stall()
    }
    simulation.note("synced", node, UInt64(appendedCount), log.lastIndex.rawValue)
    if let mark = releaseUnderWay {
      log.release(through: mark.index)
      if release?.index == mark.index { release = nil }
      releaseUnderWay = nil
    }
    if appendedCount > 0 {
      machine.persisted(through: undurable[appendedCount - 1].sequence)
      undurable.removeFirst(appendedCount)
      appendedCount = 0
    }
    if log.needsPreparation { later(100_000) { try? $0.log.preparer.prepare() } }
  }

  private func stall() {
    simulation.note("stalled", node)
    isStalled = true
    releaseUnderWay = nil
    appendedCount = 0
    machine.logFailed()
    later(Self.retryNanoseconds) { $0.reopen() }
  }

  private func reopen() {
    do throws(LogError) {
      let durable = min(try log.reopen(), undurable.count)
      isStalled = false
      simulation.note("reopened", node, UInt64(durable))
      if durable > 0 {
        machine.persisted(through: undurable[durable - 1].sequence)
        undurable.removeFirst(durable)
      }
      write()
    } catch {
      later(Self.retryNanoseconds) { $0.reopen() }
    }
  }

  // MARK: The housekeeper

  func start(_ work: ReplicaOutput.Flush) {
    precondition(flush == nil, "two flushes at a time")
    flush = work
    stepFlush(isCommitted: false)
  }

  private func stepFlush(isCommitted: Bool) {
    later(UInt64(200 + simulation.random.below(20_000)) * 1000) { member in
      guard let flush = member.flush else { return }
      if isCommitted {
        member.store.finish(flush.job)
        member.machine.flushed(to: flush.mark)
        member.flush = nil
        return
      }
      do throws(StorageError) {
        try flush.job.run()
        member.stepFlush(isCommitted: true)
      } catch {
        // Kept, and tried again.
        member.stepFlush(isCommitted: false)
      }
    }
  }

  func startCompaction() {
    guard !isCompacting else { return }
    isCompacting = true
    stepCompaction()
  }

  private func stepCompaction() {
    later(UInt64(200 + simulation.random.below(10_000)) * 1000) { member in
      do throws(StorageError) {
        let limit = 1 + member.simulation.random.below(20)
        guard try !member.store.compactionStep(limit: limit) else { return member.stepCompaction() }
      } catch {
        return member.stepCompaction()
      }
      member.isCompacting = false
      member.machine.compacted(to: member.store.finishedCompaction)
    }
  }

  /// Nothing waits for a disk.
  var isIdle: Bool {
    undurable.isEmpty && flush == nil && release == nil && !isStalled && !isCompacting
      && !isReceivingSnapshot
  }
}
