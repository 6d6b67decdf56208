import Auth
import Base
import Lease
package import Log
import MVCC
import Proto
package import Raft
import Storage

extension ReplicaMachine {
  /// Does everything that the inputs so far allow, and says what the owner has to do.
  package func turn() -> ReplicaOutput {
    var output = ReplicaOutput()
    if isBroken { return output }
    proposeHeld()
    askHeldReads()
    var didWork = true
    while didWork {
      didWork = takeReady(into: &output)
      didWork = applyPending() || didWork
      if store.hasManyEvents, let events = store.takeEvents() { output.events.append(events) }
    }
    if isBroken { return output }
    if let events = store.takeEvents() { output.events.append(events) }
    serveReads(into: &output)
    noteLostProposals(into: &output)
    flushIfDue(into: &output)
    output.hasCompaction = hasNewCompaction
    hasNewCompaction = false
    output.corruption = corruption
    corruption = nil
    refreshStatus()
    followLeadership()
    keepMembers()
    if raft.hasReady { _ = takeReady(into: &output) }
    if !desk.outgoing.isEmpty {
      output.messages.append(contentsOf: desk.outgoing)
      desk.outgoing.removeAll()
    }
    return output
  }

  /// Takes one Ready from Raft, if there is one, and hands its parts on.
  private func takeReady(into output: inout ReplicaOutput) -> Bool {
    releaseDelayedMessages(into: &output)
    guard raft.hasReady else { return false }
    let ready = raft.ready()
    lastSequence = ready.sequence
    if let soft = ready.softState { note(soft) }
    output.messages.append(contentsOf: ready.messages)
    if let hardState = ready.hardState { unwrittenHardState = hardState }
    if let metadata = ready.snapshotToInstall, !install(metadata, into: &output) { return false }
    noteSnapshots(ready.messages)
    if ready.hasWrite && (ready.mustSync || !ready.entriesToAppend.isEmpty) {
      output.writes.append(write(for: ready))
      writesUnderWay.append((ready.sequence, tickCount))
    } else if writesUnderWay.isEmpty {
      raft.persisted(through: ready.sequence)
    }
    for message in ready.messagesAfterPersist {
      delayedMessages.append((ready.sequence, message))
    }
    releaseDelayedMessages(into: &output)
    for entry in ready.committedEntries { pendingBytes += entry.size }
    pending.append(contentsOf: ready.committedEntries)
    waitingReads.append(contentsOf: ready.readStates)
    lose(reads: ready.readsLost, into: &output)
    return true
  }

  private func releaseDelayedMessages(into output: inout ReplicaOutput) {
    guard !delayedMessages.isEmpty else { return }
    let oldestWrite = writesUnderWay.first?.sequence ?? .max
    output.messages.append(
      contentsOf: delayedMessages.filter { $0.sequence < oldestWrite }.map(\.message)
    )
    delayedMessages.removeAll { $0.sequence < oldestWrite }
  }

  private func note(_ soft: SoftState) {
    if soft.leader != .none && soft.leader != status.leader { status.leaderChanges += 1 }
    status.leader = soft.leader
    status.role = soft.role
    // Before anything of the new leader is applied: it grants leases of which it alone may promise.
    if soft.role != .leader { followLeadership() }
  }

  /// What a batch and an entry take in the log beside the entry's own weight, at most.
  private static let batchOverheadBytes = 256
  private static let entryOverheadBytes = 48

  /// The entries and the hard state of a Ready as one unit for the log.
  private func write(for ready: Ready) -> ReplicaOutput.Write {
    var bytes = Self.batchOverheadBytes
    for entry in ready.entriesToAppend { bytes += entry.size + Self.entryOverheadBytes }
    let batch = LogBatch(capacity: bytes)
    if ready.snapshotToInstall != nil {
      var mark = applied.snapshotMark
      mark.replacesLog = true
      batch.append(snapshot: mark)
    }
    for entry in ready.entriesToAppend { Self.append(entry, to: batch) }
    if let hardState = unwrittenHardState {
      batch.append(
        hardState: LogHardState(
          term: hardState.term,
          vote: hardState.vote,
          commit: hardState.commit
        )
      )
      unwrittenHardState = nil
    }
    return ReplicaOutput.Write(batch: batch, mustSync: ready.mustSync, sequence: ready.sequence)
  }

  /// Adds an entry in the form that `Recovery` reads.
  package static func append(_ entry: Entry, to batch: LogBatch) {
    switch entry.payload {
    case .empty:
      batch.append(
        entry: entry.index,
        term: entry.term,
        kind: EntryKind.normal,
        data: UnsafeRawBufferPointer(start: nil, count: 0)
      )
    case .normal(let bytes):
      bytes.withUnsafeBytes { data in
        batch.append(entry: entry.index, term: entry.term, kind: EntryKind.normal, data: data)
      }
    case .configuration(let change):
      Raftpb.ConfChangeV2(change).encoded().withUnsafeBytes { data in
        batch.append(
          entry: entry.index,
          term: entry.term,
          kind: EntryKind.configuration,
          data: data
        )
      }
    }
  }

  /// Applies committed entries, a batch under one hold of the store's lock. Applying waits while
  /// the flusher is far behind, so memory stays bounded.
  private func applyPending() -> Bool {
    guard pendingStart < pending.count,
      store.unflushedBytes < configuration.storageBacklogBytesMax
    else { return false }
    let end = min(pending.count, pendingStart + ReplicaConfiguration.applyBatchMax)
    var bytes = 0
    let isComparing = !isAlone
    store.beginBatch()
    for position in pendingStart..<end {
      bytes += pending[position].size
      willApply?(pending[position])
      apply(pending[position])
      if isComparing { noteHash(of: pending[position].index) }
    }
    meter?.pause()
    store.endBatch()
    let last = pending[end - 1]
    applied.index = last.index
    applied.term = last.term
    raft.applied(through: last.index)
    if isAlone {
      // Nobody lags who could want them.
      raft.compact(through: last.index)
    } else {
      retain(appliedThrough: last.index, bytes: bytes)
    }
    pendingBytes -= bytes
    unsealedLogBytes += bytes
    pendingStart = end
    if pendingStart == pending.count {
      pending.removeAll(keepingCapacity: true)
      pendingStart = 0
    }
    return true
  }

  /// Closes the memtable when it is large enough, with the metadata of exactly this state.
  private func flushIfDue(into output: inout ReplicaOutput) {
    if let mark = flushedMark {
      flushedMark = nil
      output.release = noteStored(mark)
    }
    let isWished = raft.takeSnapshotWish()
    guard !isFlushing,
      isWished || store.activeBytes >= configuration.memtableBytesMax || store.wantsFlush
        || isLogLong
        || leases.changedCount >= configuration.unstoredLeasesMax
    else { return }
    // A wish that finds nothing new to write is for what is written already.
    output.flush = seal()
  }

  /// Whether much was applied since the last seal, though little of it changed anything.
  private var isLogLong: Bool {
    unsealedLogBytes >= configuration.unsealedLogBytesMax
      || applied.index - sealedIndex >= configuration.unsealedEntriesMax
  }

  /// Closes the memtable now, whatever it holds: before a snapshot, a defragmentation or a stop.
  /// Returns nil when a flush is under way already or nothing was applied since the last one.
  package func seal() -> ReplicaOutput.Flush? {
    guard !isFlushing, applied.index != sealedIndex || store.wantsFlush else { return nil }
    var metadata = StoredMetadata(applied: applied, members: members).encoded()
    if authVersion != sealedAuthVersion {
      metadata.append((StoredMetadata.authKey, auth.encoded()))
    }
    if alarmsVersion != sealedAlarmsVersion {
      metadata.append((AlarmTable.metadataKey, alarms.encoded()))
    }
    if downgradeVersion != sealedDowngradeVersion {
      metadata.append((DowngradeJob.metadataKey, DowngradeJob.encoded(downgrade)))
    }
    if tablesHash != sealedTablesHash {
      metadata.append((StateHash.metadataKey, StateHash.encoded(tablesHash)))
    }
    metadata += leases.takeMetadata()
    guard let job = store.seal(metadata: metadata) else { return nil }
    sealedAuthVersion = authVersion
    isFlushing = true
    sealedIndex = applied.index
    unsealedLogBytes = 0
    sealedAlarmsVersion = alarmsVersion
    sealedDowngradeVersion = downgradeVersion
    sealedTablesHash = tablesHash
    return ReplicaOutput.Flush(job: job, mark: applied)
  }

  /// Whether this member is the whole cluster.
  package var isAlone: Bool {
    confState.voters.count == 1 && confState.voters[0] == configuration.memberID
      && confState.learners.isEmpty && confState.votersOutgoing.isEmpty
  }

  /// Whether writes were handed out that `persisted` was not called for yet.
  package var hasWritesUnderWay: Bool { !writesUnderWay.isEmpty }

  private func refreshStatus() {
    status.term = raft.term
    status.lastIndex = raft.lastIndex
    status.committed = raft.commit
    status.applied = applied.index
    status.isLearner = !isAlone && raft.isLearner
    status.isCorrupt = !alarms.alarms.isEmpty && !isAlone && isCorrupt
    status.readsAreLocal =
      status.role == .leader && isAlone && raft.term(at: raft.commit) == raft.term
  }
}
