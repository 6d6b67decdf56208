import Base
import Glibc
import Logging
import MVCC
import MartletServer
import Membership
import Peer
import Proto
import Raft
import Replica
import Storage
import Synchronization
import Testing

/// What comes from a leader is only offered to Raft when it is whole, sound and what it says it is.
@Suite struct SnapshotIntakeTests {
  /// A store with some content on its way from one folder to another.
  private final class Transfer: @unchecked Sendable {
    let folder: TemporaryFolder
    let source: LMDBStorage
    let target: LMDBStorage
    let members: MemberTable
    var message = Raft.Message(.snapshot, from: MemberID(1), to: MemberID(2), term: Term(3))
    let bytes: [UInt8]
    let sha256: [UInt8]
    let offered = Mutex<[ReceivedSnapshot]>([])

    init() throws {
      folder = try TemporaryFolder()
      mkdir("\(folder.path)/source", 0o700)
      mkdir("\(folder.path)/target", 0o700)
      source = try LMDBStorage(path: "\(folder.path)/source/db")
      target = try LMDBStorage(path: "\(folder.path)/target/db")
      members = try MemberTable(
        founding: InitialCluster("a=http://localhost:1"),
        token: "intake"
      )
      let storage = TieredStorage(over: source)
      let store = try Store(storage: storage)
      try Self.fill(store)
      let mark = LogMark(
        index: LogIndex(500),
        term: Term(3),
        confState: ConfState(voters: [MemberID(1), MemberID(2)])
      )
      let job = try #require(
        store.seal(metadata: StoredMetadata(applied: mark, members: members).encoded())
      )
      try job.run()
      store.finish(job)
      let outgoing = try OutgoingSnapshot(of: storage, in: "\(folder.path)/source")
      #expect(outgoing.mark.snapshotMetadata == mark.snapshotMetadata)
      message.snapshot = outgoing.mark.snapshotMetadata
      var bytes: [UInt8] = []
      while let part = try outgoing.next(bytesMax: 10_000) { bytes += part }
      self.bytes = bytes
      sha256 = outgoing.sha256
      #expect(outgoing.totalBytes == bytes.count)
    }

    private static func fill(_ store: Store) throws {
      let arena = Arena()
      for number in 0..<500 {
        let request = Etcdserverpb.PutRequest(
          key: Array("key-\(number)".utf8),
          value: [UInt8](repeating: UInt8(number % 251), count: 200)
        ).encoded()
        var reply = ByteWriter()
        let header = ResponseHeader(
          clusterID: ClusterID(1),
          memberID: MemberID(1),
          raftTerm: Term(1)
        )
        try request.withUnsafeBytes { bytes in
          arena.reset()
          let view = try Etcdserverpb.PutRequest.View(decoding: bytes, in: arena)
          store.beginBatch()
          defer { store.endBatch() }
          try store.put(view, header: header, reply: &reply)
        }
      }
    }

    /// Sends `bytes` and says whether they were accepted.
    func send(
      _ bytes: [UInt8],
      announcing total: Int? = nil,
      sha256: [UInt8]? = nil,
      clusterID: ClusterID? = nil,
      _ change: (inout SnapshotMetadata) -> Void = { _ in }
    ) async throws -> Bool {
      let intake = SnapshotIntake(
        storage: target,
        directory: "\(folder.path)/target",
        clusterID: clusterID ?? members.clusterID,
        logger: TestMember.silentLogger,
        offer: { snapshot, _ in
          self.offered.withLock { $0.append(snapshot) }
          return true
        }
      )
      defer { intake.stop() }
      var message = message
      if var metadata = message.snapshot {
        change(&metadata)
        message.snapshot = metadata
      }
      let receiver = try #require(
        intake.makeReceiver(message, totalBytes: UInt64(total ?? bytes.count))
      )
      // One at a time.
      #expect(intake.makeReceiver(message, totalBytes: 1) == nil)
      do {
        var rest = bytes[...]
        while !rest.isEmpty {
          try await receiver.receive(Array(rest.prefix(7000)))
          rest = rest.dropFirst(7000)
        }
        try await receiver.finish(sha256: sha256 ?? self.sha256)
        return true
      } catch {
        return false
      }
    }

    var targetNames: Set<String> {
      var names: Set<String> = []
      guard let listing = opendir("\(folder.path)/target") else { return names }
      defer { closedir(listing) }
      while let entry = readdir(listing) {
        names.insert(
          withUnsafeBytes(of: entry.pointee.d_name) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
          }
        )
      }
      return names.subtracting([".", "..", "db", "db.owner"])
    }

    func close() {
      source.close()
      target.close()
    }
  }

  @Test("a sound snapshot is offered, and installs")
  func sound() async throws {
    let transfer = try Transfer()
    defer { transfer.close() }
    #expect(try await transfer.send(transfer.bytes))
    let snapshot = try #require(transfer.offered.withLock { $0.first })
    #expect(snapshot.mark.index == LogIndex(500))
    #expect(transfer.targetNames.count == 1)
    try transfer.target.install(from: snapshot.path)
    try transfer.target.syncInstall()
    #expect(transfer.targetNames.isEmpty)
    #expect(
      try transfer.target.metadata(StoredMetadata.installKey)
        == transfer.target.metadata(StoredMetadata.appliedKey)
    )
  }

  @Test("a cut, a longer and a damaged one are refused, and nothing stays behind")
  func damaged() async throws {
    let transfer = try Transfer()
    defer { transfer.close() }
    let bytes = transfer.bytes
    #expect(try await !transfer.send(Array(bytes.dropLast(4096)), announcing: bytes.count))
    #expect(try await !transfer.send(bytes + [1, 2, 3], announcing: bytes.count))
    var flipped = bytes
    flipped[bytes.count / 2] ^= 0x40
    #expect(try await !transfer.send(flipped))
    #expect(try await !transfer.send(bytes, sha256: [UInt8](repeating: 0, count: 32)))
    #expect(transfer.offered.withLock { $0.isEmpty })
    #expect(transfer.targetNames.isEmpty)
  }

  @Test("one that was damaged before it was summed up is refused by its structure or content")
  func damagedBeforehand() async throws {
    let transfer = try Transfer()
    defer { transfer.close() }
    // The sum is right: only reading can tell. Page headers and record heads are what LMDB follows.
    for page in [1, 2, 5] {
      var broken = transfer.bytes
      for offset in 8..<24 where page * 4096 + offset < broken.count {
        broken[page * 4096 + offset] ^= 0xff
      }
      let accepted = try await transfer.send(broken, sha256: SnapshotSum.of(broken))
      #expect(!accepted, "page \(page)")
    }
    #expect(transfer.offered.withLock { $0.isEmpty })
    #expect(transfer.targetNames.isEmpty)
  }

  @Test("another cluster's, and one that is not what was announced, are refused")
  func strange() async throws {
    let transfer = try Transfer()
    defer { transfer.close() }
    #expect(try await !transfer.send(transfer.bytes, clusterID: ClusterID(7)))
    #expect(try await !transfer.send(transfer.bytes) { $0.index = LogIndex(501) })
    #expect(try await !transfer.send(transfer.bytes) { $0.term = Term(2) })
    #expect(try await !transfer.send(transfer.bytes) { $0.confState.voters = [MemberID(1)] })
    #expect(transfer.offered.withLock { $0.isEmpty })
    #expect(transfer.targetNames.isEmpty)
  }

  @Test("what an earlier life left is removed, and nothing else")
  func leftovers() throws {
    let folder = try TemporaryFolder()
    for name in ["incoming-1", "incoming-1.owner", "outgoing-2", "snapshot-1-2.tmp", "store.mdb"] {
      let descriptor = open("\(folder.path)/\(name)", O_CREAT | O_WRONLY, 0o600)
      close(descriptor)
    }
    SnapshotFiles.removeLeftovers(in: folder.path)
    #expect(access("\(folder.path)/store.mdb", F_OK) == 0)
    for name in ["incoming-1", "incoming-1.owner", "outgoing-2", "snapshot-1-2.tmp"] {
      #expect(access("\(folder.path)/\(name)", F_OK) != 0, "\(name)")
    }
  }
}
