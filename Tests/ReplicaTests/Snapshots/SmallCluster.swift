import Base
import Lease
import MVCC
import Membership
import Proto
import Raft
import Replica
import Storage

/// Some members whose messages the test carries by hand. Writes are durable at once, flushes run at
/// once unless the test holds them, and a snapshot is a copy in memory.
final class SmallCluster {
  static let urls = [1, 2, 3].map { "http://localhost:\(2380 + $0)" }
  static let token = "small"

  final class Member {
    let id: MemberID
    let disk = MemoryDisk()
    let base: MemoryStorage
    let store: Store
    let machine: ReplicaMachine
    var heldFlushes: [ReplicaOutput.Flush] = []
    var holdsFlushes = false
    var outputs: [ReplicaOutput] = []
    var released: [LogMark] = []
    var events: [EventBlock] = []

    init(id: MemberID, members: MemberTable, seed: UInt64, catchUp: UInt64) throws {
      self.id = id
      base = MemoryStorage(disk: disk)
      var configuration = ReplicaConfiguration(
        memberID: id,
        epoch: seed,
        loopCount: 1,
        name: "m\(seed)",
        clientURLs: ["http://localhost:1"]
      )
      configuration.catchUpEntriesMax = catchUp
      configuration.memtableBytesMax = 4096
      let leases = LeaseRegistry()
      let storage = TieredStorage(over: base)
      store = try Store(storage: storage, leases: leases)
      let stored = StoredMetadata(founding: members)
      try base.commit(RevisionBatch(metadata: stored.encoded()))
      var restored = RestoredState()
      restored.confState = stored.applied.confState
      machine = try ReplicaMachine(
        configuration,
        store: store,
        tables: ReplicatedTables(members: members, leases: leases),
        restored: restored,
        appliedTerm: .zero,
        seed: seed
      )
    }

    func runFlush(_ flush: ReplicaOutput.Flush) throws {
      try flush.job.run()
      store.finish(flush.job)
      machine.flushed(to: flush.mark)
    }
  }

  let table: MemberTable
  var members: [Member] = []
  /// Members that hear and say nothing.
  var away: Set<MemberID> = []
  var snapshotMessages: [Raft.Message] = []
  /// Whether snapshots are carried at once.
  var carriesSnapshots = true
  var copies = 0

  init(catchUp: UInt64 = 16) throws {
    let initial = zip(["a", "b", "c"], Self.urls).map { "\($0)=\($1)" }.joined(separator: ",")
    table = try MemberTable(founding: InitialCluster(initial), token: Self.token)
    for (number, member) in table.members.enumerated() {
      members.append(
        try Member(id: member.id, members: table, seed: UInt64(number + 1), catchUp: catchUp)
      )
    }
  }

  subscript(id: MemberID) -> Member {
    guard let found = members.first(where: { $0.id == id }) else {
      preconditionFailure("no member \(id)")
    }
    return found
  }

  var leader: Member? {
    members.filter { $0.machine.status.role == .leader && !away.contains($0.id) }
      .max { $0.machine.status.term < $1.machine.status.term }
  }

  /// Carries messages until there are none left.
  func settle() throws {
    var moved = true
    while moved {
      moved = false
      for member in members {
        let output = member.machine.turn()
        for queue in member.machine.replies { _ = queue.take() }
        if let last = output.writes.last {
          member.machine.persisted(through: last.sequence)
          moved = true
        }
        member.outputs.append(output)
        member.events += output.events
        if let mark = output.release { member.released.append(mark) }
        if let flush = output.flush {
          moved = true
          if member.holdsFlushes {
            member.heldFlushes.append(flush)
          } else {
            try member.runFlush(flush)
          }
        }
        guard !away.contains(member.id) else { continue }
        for message in output.messages where !away.contains(message.to) {
          moved = true
          if message.kind == .snapshot {
            snapshotMessages.append(message)
            if carriesSnapshots { try carryNext() }
          } else {
            try? self[message.to].machine.receive(message)
          }
        }
      }
    }
  }

  /// Makes, brings and offers the snapshot that was asked for first.
  func carryNext() throws {
    let message = snapshotMessages.removeFirst()
    let (snapshot, announced) = try copy(for: message)
    let isTaken = try self[message.to].machine.receive(snapshot, by: announced)
    self[message.from].machine.reportSnapshot(message.to, success: isTaken)
  }

  /// A copy of the sender's store on the receiver's disk, found sound.
  func copy(
    for message: Raft.Message
  ) throws -> (snapshot: ReceivedSnapshot, announced: Raft.Message) {
    copies += 1
    let path = "copy-\(copies)"
    let sender = self[message.from]
    var announced = message
    guard let bytes = try sender.base.metadata(StoredMetadata.appliedKey) else {
      preconditionFailure("a store without a mark")
    }
    announced.snapshot = try LogMark(decoding: bytes).snapshotMetadata
    guard let metadata = announced.snapshot else { preconditionFailure() }
    let snapshot = try SnapshotBuilder(
      into: MemoryStorage(disk: self[message.to].disk, path: path),
      at: path,
      announced: metadata,
      clusterID: table.clusterID
    ).copy(of: sender.base)
    return (snapshot, announced)
  }

  func tick(_ count: Int = 1) throws {
    for _ in 0..<count {
      for member in members {
        member.machine.now += 100_000_000
        member.machine.tick()
      }
      try settle()
    }
  }

  /// Ticks until somebody leads whom the others follow.
  func elect() throws -> Member {
    for _ in 0..<200 {
      try tick()
      if let leader, leader.machine.status.applied > .zero { return leader }
    }
    preconditionFailure("no leader after 200 ticks")
  }

  func propose(_ operation: ReplicatedOperation, _ request: some Proto.Message) throws {
    guard let leader else { preconditionFailure("no leader") }
    var batch = ProposalBatch(epoch: 99)
    request.encoded().withUnsafeBytes { batch.append(operation, handle: .none, request: $0) }
    leader.machine.receive(proposals: batch.take())
    try settle()
  }

  func put(_ key: String, _ value: String, lease: Int64 = 0) throws {
    try propose(
      .put,
      Etcdserverpb.PutRequest(key: Array(key.utf8), value: Array(value.utf8), lease: lease)
    )
  }
}

extension SmallCluster.Member {
  /// All pairs, as a response without a header.
  func contents() throws -> [Mvccpb.KeyValue] {
    var reply = ByteWriter()
    let request = Etcdserverpb.RangeRequest(key: [0], rangeEnd: [0]).encoded()
    let arena = Arena()
    try request.withUnsafeBytes { bytes in
      try store.range(
        try Etcdserverpb.RangeRequest.View(decoding: bytes, in: arena),
        header: ResponseHeader(clusterID: ClusterID(1), memberID: id, raftTerm: Term(1)),
        reader: store.makeReader(),
        into: &reply
      )
    }
    return try Etcdserverpb.RangeResponse(decoding: Array(reply.bytes)).kvs
  }
}
