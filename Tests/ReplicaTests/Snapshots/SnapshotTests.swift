import Base
import Lease
import Log
import MVCC
import Membership
import Proto
import Raft
import Replica
import Storage
import Testing

/// A member that the log has left behind gets everything at once.
struct SnapshotTests {
  /// A cluster of which one follower missed more than the others keep.
  private func withLaggard(
    _ writes: Int = 400
  ) throws -> (cluster: SmallCluster, laggard: SmallCluster.Member) {
    let cluster = try SmallCluster()
    let leader = try cluster.elect()
    try cluster.put("before", "1")
    let laggard = try #require(cluster.members.first { $0 !== leader })
    cluster.away = [laggard.id]
    try cluster.propose(.leaseGrant, Etcdserverpb.LeaseGrantRequest(ttl: 600, id: 7))
    try cluster.put("leased", "1", lease: 7)
    try write(cluster, writes)
    return (cluster, laggard)
  }

  private func write(_ cluster: SmallCluster, _ count: Int, from first: Int = 0) throws {
    for number in first..<first + count {
      try cluster.put("key-\(number % 50)", String(repeating: "v", count: 100) + "\(number)")
    }
  }

  private func expectEqual(_ cluster: SmallCluster) throws {
    let first = cluster.members[0]
    for member in cluster.members {
      #expect(member.machine.stateHash == first.machine.stateHash)
      #expect(member.store.currentRevision == first.store.currentRevision)
      #expect(try member.contents() == first.contents())
      #expect(member.machine.leases.all() == first.machine.leases.all())
      #expect(
        member.machine.leases.keys(of: LeaseID(7)) == first.machine.leases.keys(of: LeaseID(7))
      )
    }
  }

  @Test func aMemberThatMissedTooMuchGetsASnapshotAndGoesOn() throws {
    let (cluster, laggard) = try withLaggard()
    try cluster.propose(
      .alarm,
      Etcdserverpb.AlarmRequest(action: .activate, memberID: 5, alarm: .nospace)
    )
    try cluster.propose(
      .alarm,
      Etcdserverpb.AlarmRequest(action: .deactivate, memberID: 5, alarm: .nospace)
    )
    try write(cluster, 60, from: 400)
    cluster.away = []
    try cluster.tick(20)
    let installed = laggard.outputs.compactMap(\.installed)
    #expect(installed.count == 1)
    try expectEqual(cluster)
    // It has the later entries from the log and takes new ones.
    try write(cluster, 30, from: 1000)
    try expectEqual(cluster)
    #expect(laggard.outputs.compactMap(\.installed).count == 1)
    // Its own flushes and the log's release go on from there.
    let applied = try #require(installed.first).index
    #expect(laggard.released.contains { $0.index == applied })
  }

  @Test func whatIsWrittenWithTheInstallReplacesTheLog() throws {
    let (cluster, laggard) = try withLaggard()
    cluster.away = []
    try cluster.tick(20)
    let output = try #require(laggard.outputs.first { $0.installed != nil })
    let write = try #require(output.writes.first)
    let mark = try #require(write.batch.snapshot)
    #expect(mark.replacesLog)
    #expect(mark.index == output.installed?.index)
    #expect(write.mustSync)
  }

  @Test func twoSnapshotsInShortOrder() throws {
    let (cluster, laggard) = try withLaggard()
    cluster.away = []
    try cluster.tick(20)
    cluster.away = [laggard.id]
    try write(cluster, 300, from: 2000)
    cluster.away = []
    try cluster.tick(20)
    #expect(laggard.outputs.compactMap(\.installed).count == 2)
    try expectEqual(cluster)
  }

  @Test func aFlushUnderWayIsVoidAfterTheInstall() throws {
    let (cluster, laggard) = try withLaggard(0)
    cluster.away = []
    laggard.holdsFlushes = true
    try write(cluster, 60)
    #expect(laggard.heldFlushes.count == 1)
    cluster.away = [laggard.id]
    try write(cluster, 400, from: 100)
    cluster.away = []
    try cluster.tick(20)
    let installed = try #require(laggard.outputs.compactMap(\.installed).first)
    laggard.holdsFlushes = false
    let before = try laggard.base.metadata(StoredMetadata.appliedKey)
    for flush in laggard.heldFlushes { try laggard.runFlush(flush) }
    #expect(try laggard.base.metadata(StoredMetadata.appliedKey) == before)
    #expect(try LogMark(decoding: #require(before)).index == installed.index)
    try write(cluster, 100, from: 3000)
    try expectEqual(cluster)
    #expect(try laggard.base.metadata(StoredMetadata.appliedKey) != before)
  }

  @Test func aWatcherFindsWhatItMissedInTheStore() throws {
    let (cluster, laggard) = try withLaggard()
    let from = laggard.store.beginWatching()
    cluster.away = []
    try cluster.tick(20)
    try write(cluster, 10, from: 5000)
    // Blocks come from after the snapshot on; before them there is the history.
    let first = try #require(laggard.events.first)
    #expect(first.after > from)
    let outcome = laggard.store.run(
      EventScan(from: Revision(from.rawValue + 1)),
      reader: laggard.store.makeReader()
    )
    guard case .events(let block) = outcome else {
      Issue.record("\(outcome)")
      return
    }
    #expect(block.after == from)
    #expect(block.through == laggard.store.currentRevision)
    #expect(block.count == Int(block.through.rawValue - from.rawValue))
  }

  @Test func entriesAfterASnapshotUnderWayAreKept() throws {
    let (cluster, laggard) = try withLaggard()
    cluster.carriesSnapshots = false
    cluster.away = []
    try cluster.tick(3)
    let message = try #require(cluster.snapshotMessages.first)
    let (snapshot, announced) = try cluster.copy(for: message)
    // Far more than the window, while the snapshot travels.
    try write(cluster, 500, from: 4000)
    #expect(try laggard.machine.receive(snapshot, by: announced))
    cluster[message.from].machine.reportSnapshot(message.to, success: true)
    cluster.snapshotMessages = []
    try cluster.tick(20)
    #expect(cluster.snapshotMessages.isEmpty)
    #expect(laggard.outputs.compactMap(\.installed).count == 1)
    try expectEqual(cluster)
  }

  @Test func aSnapshotThatFailedIsOfferedAgain() throws {
    let (cluster, laggard) = try withLaggard()
    cluster.carriesSnapshots = false
    cluster.away = []
    try cluster.tick(3)
    let message = cluster.snapshotMessages.removeFirst()
    #expect(cluster.snapshotMessages.isEmpty)
    cluster[message.from].machine.reportSnapshot(message.to, success: false)
    cluster.carriesSnapshots = true
    try cluster.tick(20)
    #expect(laggard.outputs.compactMap(\.installed).count == 1)
    try expectEqual(cluster)
  }

  @Test func anOldSnapshotChangesNothing() throws {
    let (cluster, laggard) = try withLaggard()
    cluster.carriesSnapshots = false
    cluster.away = []
    try cluster.tick(3)
    let message = cluster.snapshotMessages.removeFirst()
    let (first, announced) = try cluster.copy(for: message)
    let (second, again) = try cluster.copy(for: message)
    #expect(try laggard.machine.receive(first, by: announced))
    try cluster.settle()
    #expect(try !laggard.machine.receive(second, by: again))
    cluster[message.from].machine.reportSnapshot(message.to, success: true)
    try cluster.tick(20)
    #expect(laggard.outputs.compactMap(\.installed).count == 1)
    try expectEqual(cluster)
  }

  @Test func aMessageWithoutItsSnapshotIsRefused() throws {
    let (cluster, laggard) = try withLaggard()
    cluster.carriesSnapshots = false
    cluster.away = []
    try cluster.tick(3)
    let message = try #require(cluster.snapshotMessages.first)
    #expect(throws: RaftError.malformed) { try laggard.machine.receive(message) }
    let (snapshot, _) = try cluster.copy(for: message)
    var other = message
    other.snapshot?.term = Term(99)
    #expect(throws: RaftError.malformed) { try laggard.machine.receive(snapshot, by: other) }
  }

  @Test func whatIsNotWhatItSaysIsNotTaken() throws {
    let cluster = try withLaggard().cluster
    let leader = try #require(cluster.leader)
    try leader.base.copyCompacted(to: "copy")
    let copy = MemoryStorage(disk: leader.disk, path: "copy")
    let bytes = try #require(try copy.metadata(StoredMetadata.appliedKey))
    let mark = try LogMark(decoding: bytes)
    func read(_ metadata: SnapshotMetadata, _ cluster: ClusterID) throws {
      let taken = MemoryStorage()
      let snapshot = try SnapshotBuilder(
        into: taken,
        at: "taken",
        announced: metadata,
        clusterID: cluster
      ).copy(of: copy)
      #expect(snapshot.mark.snapshotMetadata == mark.snapshotMetadata)
      #expect(try taken.metadata(StoredMetadata.installKey) == bytes)
    }
    try read(mark.snapshotMetadata, cluster.table.clusterID)
    var metadata = mark.snapshotMetadata
    metadata.index = metadata.index + 1
    #expect(throws: ReceivedSnapshot.Flaw.self) { try read(metadata, cluster.table.clusterID) }
    metadata = mark.snapshotMetadata
    metadata.term = Term(metadata.term.rawValue + 1)
    #expect(throws: ReceivedSnapshot.Flaw.self) { try read(metadata, cluster.table.clusterID) }
    metadata = mark.snapshotMetadata
    metadata.confState.voters.removeLast()
    #expect(throws: ReceivedSnapshot.Flaw.self) { try read(metadata, cluster.table.clusterID) }
    #expect(throws: ReceivedSnapshot.Flaw.self) { try read(mark.snapshotMetadata, ClusterID(1)) }
    try copy.commit(RevisionBatch(metadata: [("mvcc.state", [1, 2, 3])]))
    #expect(throws: ReceivedSnapshot.Flaw.self) {
      try read(mark.snapshotMetadata, cluster.table.clusterID)
    }
  }
}
