import Base
import Lease
import MVCC
import Membership
import Proto
import Raft
import Replica
import Storage

/// A one-member cluster whose log is a promise: writes are durable when the test says so.
final class DirectMember {
  struct Answer {
    var loop: Int
    var call: UInt64
    var message: [UInt8]?
    var error: RequestError?
  }

  static let epoch: UInt64 = 41
  static let token = "test"
  static let cluster = "m=http://localhost:2380"

  let store: Store
  let machine: ReplicaMachine
  private(set) var answers: [Answer] = []

  static func founding() throws -> MemberTable {
    try MemberTable(founding: InitialCluster(cluster), token: token)
  }

  static var id: MemberID { .founding(peerURLs: ["http://localhost:2380"], token: token) }

  init(
    loopCount: Int = 1,
    disk: MemoryDisk = MemoryDisk(),
    _ configure: (inout ReplicaConfiguration) -> Void = { _ in }
  ) throws {
    let members = try Self.founding()
    var configuration = ReplicaConfiguration(
      memberID: Self.id,
      epoch: Self.epoch,
      loopCount: loopCount,
      name: "m",
      clientURLs: ["http://localhost:2379"]
    )
    configure(&configuration)
    let storage = TieredStorage(over: MemoryStorage(disk: disk))
    let leases = LeaseRegistry()
    try leases.restore(from: storage)
    store = try Store(storage: storage, leases: leases)
    let stored = StoredMetadata(founding: members)
    var restored = RestoredState()
    restored.confState = stored.applied.confState
    machine = try ReplicaMachine(
      configuration,
      store: store,
      tables: ReplicatedTables(members: members, leases: leases),
      restored: restored,
      appliedTerm: .zero,
      seed: 1
    )
  }

  /// Runs one turn and takes the answers.
  func turn() -> ReplicaOutput {
    let output = machine.turn()
    for (loop, queue) in machine.replies.enumerated() where !queue.isEmpty {
      ReplyQueue.forEachAnswer(in: queue.take()) { call, answer in
        switch answer {
        case .message(let bytes):
          answers.append(Answer(loop: loop, call: call, message: Array(bytes)))
        case .failure(let error):
          answers.append(Answer(loop: loop, call: call, error: error))
        }
      }
    }
    return output
  }

  /// Runs turns, each write durable at once, until nothing happens any more.
  @discardableResult
  func run() -> [ReplicaOutput] {
    var outputs: [ReplicaOutput] = []
    while true {
      let output = turn()
      outputs.append(output)
      guard let last = output.writes.last else { return outputs }
      machine.persisted(through: last.sequence)
    }
  }

  /// Runs until the member leads and has published itself.
  func lead() {
    run()
    precondition(machine.status.role == .leader, "a single voter does not lead")
    answers.removeAll()
  }

  func answersAreDropped() {
    answers.removeAll()
  }

  func propose(
    _ operation: ReplicatedOperation,
    _ request: [UInt8],
    _ handle: RequestHandle,
    epoch: UInt64 = DirectMember.epoch
  ) {
    var batch = ProposalBatch(epoch: epoch)
    request.withUnsafeBytes { batch.append(operation, handle: handle, request: $0) }
    machine.receive(proposals: batch.take())
  }

  /// Proposes bytes as they are.
  func propose(entry: [UInt8]) {
    var writer = ByteWriter()
    writer.append(integer: UInt32(entry.count).littleEndian)
    entry.withUnsafeBytes { writer.append($0) }
    machine.receive(proposals: writer.takeBlock())
  }
}
