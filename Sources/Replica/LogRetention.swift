package import Base
import Raft

/// Which applied entries a member of a cluster keeps for those that lag, in memory and on the disk.
///
/// Entries leave memory when the catch-up window has passed them and a snapshot that holds them can be
/// sent, that is, once the store has them on the disk. While a snapshot is on its way the entries
/// after it stay as well, or its receiver would need the next snapshot at once; but no more of them than
/// `ReplicaConfiguration.snapshotHoldBytesMax`. The disk's log is released only behind what memory
/// has, so a member that restarts can still serve whom it could serve before.
struct LogRetention {
  /// The last entry that the store holds durably.
  private(set) var stored: LogIndex
  /// Through here the catch-up window lets entries go.
  private var passed = LogIndex.zero
  /// Flushed marks, ascending, the first of which may be what the log begins with.
  private var marks: [LogMark] = []
  /// Members to whom a snapshot is on its way, or has come not long ago.
  private(set) var holds: [Hold] = []
  /// The weight of what was applied since the first of them.
  private var heldBytes = 0

  struct Hold {
    var peer: MemberID
    /// The entries after this one are kept.
    var after: LogIndex
    /// When it ends: so many ticks after the snapshot arrived; nil while it is on its way.
    var ticksLeft: Int?
  }

  init(stored: LogIndex) {
    self.stored = stored
  }

  /// How far entries may leave memory.
  var droppable: LogIndex {
    holds.reduce(min(passed, stored)) { min($0, $1.after) }
  }

  mutating func note(passed index: LogIndex?, bytes: Int, holdBytesMax: Int) {
    if let index { passed = index }
    guard !holds.isEmpty else { return }
    heldBytes += bytes
    if heldBytes > holdBytesMax { holds = [] }
  }

  mutating func hold(for peer: MemberID, after index: LogIndex) {
    if holds.isEmpty { heldBytes = 0 }
    holds.removeAll { $0.peer == peer }
    holds.append(Hold(peer: peer, after: index))
  }

  /// The snapshot for a peer has arrived, or failed.
  mutating func settle(_ peer: MemberID, success: Bool, ticks: Int) {
    guard let place = holds.firstIndex(where: { $0.peer == peer }) else { return }
    if success { holds[place].ticksLeft = ticks } else { holds.remove(at: place) }
  }

  /// With each tick. `isBehind` says whether a peer still needs what is held.
  mutating func tick(isBehind: (Hold) -> Bool) {
    guard !holds.isEmpty else { return }
    holds.removeAll { hold in
      guard let left = hold.ticksLeft else { return false }
      return left <= 0 || !isBehind(hold)
    }
    for place in holds.indices { holds[place].ticksLeft? -= 1 }
  }

  /// This member leads no more: whom it served is another's care.
  mutating func dropHolds() { holds = [] }

  /// The store holds everything through `mark`.
  mutating func note(stored mark: LogMark) {
    stored = max(stored, mark.index)
    marks.append(mark)
  }

  /// The newest mark not beyond `offset`, which is where memory begins.
  mutating func release(behind offset: LogIndex) -> LogMark? {
    guard let last = marks.lastIndex(where: { $0.index <= offset }) else { return nil }
    defer { marks.removeFirst(last + 1) }
    return marks[last]
  }

  /// A snapshot took the place of everything.
  mutating func reset(to mark: LogMark) {
    self = LogRetention(stored: mark.index)
    passed = mark.index
  }
}

extension ReplicaMachine {
  /// How long entries are kept for a member after its snapshot has arrived: it reads it first.
  private static let holdSeconds = 30

  /// Entries were applied: lets go of those that nobody needs.
  func retain(appliedThrough last: LogIndex, bytes: Int) {
    retention.note(
      passed: catchUp.note(appliedThrough: last, bytes: bytes),
      bytes: bytes,
      holdBytesMax: configuration.snapshotHoldBytesMax
    )
    raft.compact(through: retention.droppable)
  }

  /// Notes that the store is durable up to `mark`, which peers may now be sent. Returns what the log
  /// may let go.
  func noteStored(_ mark: LogMark) -> LogMark? {
    retention.note(stored: mark)
    raft.snapshotAvailable(mark.snapshotMetadata)
    if isAlone { return retention.release(behind: .init(.max)) }
    raft.compact(through: retention.droppable)
    return retention.release(behind: raft.firstIndex - 1)
  }

  /// Looks which snapshots Raft wants sent.
  func noteSnapshots(_ messages: [Raft.Message]) {
    for message in messages where message.kind == .snapshot {
      guard let snapshot = message.snapshot else { continue }
      retention.hold(for: message.to, after: snapshot.index)
    }
  }

  /// The snapshot that a message asked for has arrived at `peer`, or failed. Must follow each.
  package func reportSnapshot(_ peer: MemberID, success: Bool) {
    retention.settle(
      peer,
      success: success,
      ticks: Self.holdSeconds * configuration.ticksPerSecond
    )
    raft.reportSnapshot(peer, success: success)
  }

  /// With each tick.
  func reviewHolds() {
    guard !retention.holds.isEmpty else { return }
    guard status.role == .leader else { return retention.dropHolds() }
    let peers = raft.progress
    let last = raft.lastIndex
    retention.tick { hold in
      guard let peer = peers.first(where: { $0.id == hold.peer }) else { return false }
      let window = configuration.catchUpEntriesMax / 2
      return peer.state != .replicate || last.rawValue - min(peer.match, last).rawValue > window
    }
  }
}
