import Base
import Crypto
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
    let path: String
    let source: LMDBStorage
    let target: LMDBStorage
    let members: MemberTable
    var message = Raft.Message(.snapshot, from: MemberID(1), to: MemberID(2), term: Term(3))
    let parts: [[UInt8]]
    let sha256: [UInt8]
    let offered = Mutex<[ReceivedSnapshot]>([])

    init(in path: String) throws {
      self.path = path
      mkdir("\(path)/source", 0o700)
      mkdir("\(path)/target", 0o700)
      source = try LMDBStorage(path: "\(path)/source/db")
      target = try LMDBStorage(path: "\(path)/target/db")
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
      let outgoing = try OutgoingSnapshot(of: source)
      #expect(outgoing.mark.snapshotMetadata == mark.snapshotMetadata)
      message.snapshot = outgoing.mark.snapshotMetadata
      var parts: [[UInt8]] = []
      while let part = try outgoing.next(bytesMax: 10_000) { parts.append(part) }
      self.parts = parts
      sha256 = outgoing.sha256
      #expect(parts.count > 4 && parts.allSatisfy { $0.count <= 10_000 })
      #expect(outgoing.sentBytes == parts.joined().count)
      #expect(outgoing.sentBytes <= outgoing.bytesMax)
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

    func intake(
      of clusterID: ClusterID? = nil,
      offer: @escaping @Sendable (ReceivedSnapshot) -> Void = { _ in }
    ) -> SnapshotIntake {
      SnapshotIntake(
        storage: target,
        directory: "\(path)/target",
        clusterID: clusterID ?? members.clusterID,
        logger: TestMember.silentLogger,
        offer: { snapshot, _ in
          offer(snapshot)
          return true
        }
      )
    }

    /// Sends parts and says whether they were accepted.
    func send(
      _ parts: [[UInt8]],
      announcing bytesMax: Int? = nil,
      sha256: [UInt8]? = nil,
      clusterID: ClusterID? = nil,
      _ change: (inout SnapshotMetadata) -> Void = { _ in }
    ) async throws -> Bool {
      let intake = intake(of: clusterID) { snapshot in
        self.offered.withLock { $0.append(snapshot) }
      }
      defer { intake.stop() }
      var message = message
      if var metadata = message.snapshot {
        change(&metadata)
        message.snapshot = metadata
      }
      let receiver = try #require(
        intake.makeReceiver(message, bytesMax: UInt64(bytesMax ?? parts.joined().count))
      )
      // One at a time.
      #expect(intake.makeReceiver(message, bytesMax: 1) == nil)
      do {
        for part in parts { try await receiver.receive(part) }
        try await receiver.finish(sha256: sha256 ?? self.sha256)
        return true
      } catch {
        return false
      }
    }

    var targetNames: Set<String> { SnapshotIntakeTests.names(in: "\(path)/target") }

    func close() {
      source.close()
      target.close()
    }
  }

  /// What lies in a folder beside the store.
  private static func names(in path: String) -> Set<String> {
    var names: Set<String> = []
    guard let listing = opendir(path) else { return names }
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

  @Test("a sound snapshot is offered, and installs")
  func sound() async throws {
    let folder = try TemporaryFolder()
    let transfer = try Transfer(in: folder.path)
    defer { transfer.close() }
    #expect(try await transfer.send(transfer.parts))
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

  @Test("without a part, with one too many or with a damaged one it is refused; nothing stays")
  func damaged() async throws {
    let folder = try TemporaryFolder()
    let transfer = try Transfer(in: folder.path)
    defer { transfer.close() }
    let parts = transfer.parts
    #expect(try await !transfer.send([], announcing: 1000))
    #expect(try await !transfer.send(Array(parts.dropLast())))
    #expect(try await !transfer.send(Array(parts.dropFirst())))
    #expect(try await !transfer.send(parts + [parts[0]]))
    #expect(try await !transfer.send([parts[1], parts[0]] + parts.dropFirst(2)))
    for place in [0, 3, 4, 5000] {
      var flipped = parts
      flipped[2][place] ^= 0x40
      // Its own sum tells before the whole one does.
      #expect(try await !transfer.send(flipped, sha256: WireForm.sum(of: flipped)))
    }
    #expect(try await !transfer.send(parts, sha256: [UInt8](repeating: 0, count: 32)))
    #expect(transfer.offered.withLock { $0.isEmpty })
    #expect(transfer.targetNames.isEmpty)
    // And the next one comes through.
    #expect(try await transfer.send(parts))
  }

  @Test("one that was damaged before it was summed up is refused by its form or its content")
  func damagedBeforehand() async throws {
    let folder = try TemporaryFolder()
    let transfer = try Transfer(in: folder.path)
    defer { transfer.close() }
    // The sums are right: only reading can tell. Lengths, keys and records are what is followed.
    let records = Array(transfer.parts.map { $0.dropFirst(WireForm.headBytes) }.joined())
    let revisions = try #require(records.firstIndex(of: 0x80)) - 5
    let changes: [(what: String, change: (inout [UInt8]) -> Void)] = [
      ("a key's length", { $0[revisions] = 200 }),
      ("a value's length", { $0[revisions + 4] = 0xff }),
      ("a key", { $0[revisions + 5] = 0x70 }),
      ("an order", { $0[revisions + 7] = 0x77 }),
      ("flags", { $0[revisions + 21] = 0x41 }),
      ("a pair", { $0[revisions + 22] = 0xff }),
      ("an end", { $0.removeLast() }),
      ("metadata", { $0[revisions - 40] ^= 0xff }),
    ]
    for (what, change) in changes {
      var broken = records
      change(&broken)
      let parts = stride(from: 0, to: broken.count, by: 9000).map { start in
        WireForm.part(Array(broken[start..<min(start + 9000, broken.count)]))
      }
      let sum = WireForm.sum(of: parts)
      #expect(try await !transfer.send(parts, sha256: sum), "\(what)")
    }
    #expect(transfer.offered.withLock { $0.isEmpty })
    #expect(transfer.targetNames.isEmpty)
  }

  @Test("one that never ends is given up when it takes more space than was announced")
  func endless() async throws {
    let folder = try TemporaryFolder()
    let transfer = try Transfer(in: folder.path)
    defer { transfer.close() }
    let intake = transfer.intake()
    let receiver = try #require(intake.makeReceiver(transfer.message, bytesMax: 1 << 20))
    for part in transfer.parts { try await receiver.receive(part) }
    var sent = 0
    await #expect(throws: (any Error).self) {
      // Pairs with a key each, of which most have a page of their own in the file.
      for sub in 1...100_000 as ClosedRange<Int64> {
        let part = WireForm.part(WireForm.record(sub: sub, valueBytes: 3000))
        try await receiver.receive(part)
        sent += part.count
      }
    }
    #expect(sent < 40 << 20)
    intake.stop()
    #expect(transfer.targetNames.isEmpty)
  }

  @Test("another cluster's, and one that is not what was announced, are refused")
  func strange() async throws {
    let folder = try TemporaryFolder()
    let transfer = try Transfer(in: folder.path)
    defer { transfer.close() }
    #expect(try await !transfer.send(transfer.parts, clusterID: ClusterID(7)))
    #expect(try await !transfer.send(transfer.parts) { $0.index = LogIndex(501) })
    #expect(try await !transfer.send(transfer.parts) { $0.term = Term(2) })
    #expect(try await !transfer.send(transfer.parts) { $0.confState.voters = [MemberID(1)] })
    #expect(transfer.offered.withLock { $0.isEmpty })
    #expect(transfer.targetNames.isEmpty)
  }

  @Test(
    "killed while a snapshot comes or before it is installed, a member starts with what it had",
    arguments: ["midway", "complete"]
  )
  func killed(moment: String) async throws {
    let folder = try TemporaryFolder()
    let path = folder.path
    await #expect(processExitsWith: .signal(SIGKILL)) {
      [path = path as String, moment = moment as String] in
      let transfer = try Transfer(in: path)
      try transfer.target.commit(RevisionBatch(metadata: [("kept", [1])]))
      let intake = transfer.intake { _ in kill(getpid(), SIGKILL) }
      guard let receiver = intake.makeReceiver(transfer.message, bytesMax: 1 << 20) else { return }
      for part in transfer.parts.dropLast() { try await receiver.receive(part) }
      if moment == "midway" { kill(getpid(), SIGKILL) }
      for part in transfer.parts.suffix(1) { try await receiver.receive(part) }
      try await receiver.finish(sha256: transfer.sha256)
    }
    #expect(!Self.names(in: "\(path)/target").isEmpty)
    SnapshotFiles.removeLeftovers(in: "\(path)/target")
    #expect(Self.names(in: "\(path)/target").isEmpty)
    let target = try LMDBStorage(path: "\(path)/target/db")
    #expect(try target.metadata("kept") == [1])
    #expect(try target.metadata(StoredMetadata.appliedKey) == nil)
    target.close()
  }

  @Test("what an earlier life left is removed, and nothing else")
  func leftovers() throws {
    let folder = try TemporaryFolder()
    for name in ["incoming-1", "incoming-1.owner", "snapshot-1-2.tmp", "store.mdb"] {
      let descriptor = open("\(folder.path)/\(name)", O_CREAT | O_WRONLY, 0o600)
      close(descriptor)
    }
    SnapshotFiles.removeLeftovers(in: folder.path)
    #expect(access("\(folder.path)/store.mdb", F_OK) == 0)
    for name in ["incoming-1", "incoming-1.owner", "snapshot-1-2.tmp"] {
      #expect(access("\(folder.path)/\(name)", F_OK) != 0, "\(name)")
    }
  }
}

/// How a snapshot's bytes look on their way.
private enum WireForm {
  static let headBytes = 4

  /// A part with these records.
  static func part(_ records: [UInt8]) -> [UInt8] {
    let sum = records.withUnsafeBytes { Checksum.add($0, to: 0) }
    return withUnsafeBytes(of: sum.littleEndian) { Array($0) } + records
  }

  /// What is sent behind all parts.
  static func sum(of parts: [[UInt8]]) -> [UInt8] {
    let heads = parts.map { part in
      withUnsafeBytes(of: UInt32(part.count).littleEndian) { Array($0) } + part.prefix(headBytes)
    }
    return Array(SHA256.hash(data: Array(heads.joined())))
  }

  /// A change of the newest revision beside its others, of a key of its own.
  static func record(sub: Int64, valueBytes: Int) -> [UInt8] {
    let main: Int64 = 501
    var pair = Mvccpb.KeyValue()
    pair.key = Array("more-\(sub)".utf8)
    (pair.createRevision, pair.modRevision, pair.version) = (main, main, 1)
    pair.value = [UInt8](repeating: 7, count: valueBytes)
    let value = [0] + pair.encoded()
    let words = [(UInt64(main) | 1 << 63).bigEndian, UInt64(sub).bigEndian]
    let key = words.withUnsafeBytes { Array($0) }
    return [UInt8(key.count)] + withUnsafeBytes(of: UInt32(value.count).littleEndian) { Array($0) }
      + key + value
  }
}
