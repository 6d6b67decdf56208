import Base
import Log
import Membership
import Raft
import Storage

/// A machine with a disk and a clock, on which one life of a member follows the other.
final class SimulatedNode {
  let number: Int
  let name: String
  let id: MemberID
  let files: SimulatedFileSystem
  /// The store's files.
  let disk = MemoryDisk()

  /// Whether it is added to a running cluster, and starts with empty disks.
  let isJoiner: Bool
  /// A joiner that was told to start.
  var isCalled = false
  /// The member was removed, and stopped for good.
  var isRetired = false
  /// Its disks are gone, and it will not be back: somebody has to remove the member.
  var isLost = false
  /// How many snapshots the life at hand received.
  var receivedCount = 0

  /// The life at hand; nil while the machine is off.
  var member: SimulatedMember?
  var lives = 0
  /// A bit that was flipped within the log, which went to `last`: the member must refuse to start,
  /// unless the bit means nothing.
  var flipped: (path: String, offset: Int, bit: Int, last: LogIndex)?
  /// Whether the log's disk is full or was told to fail.
  var hasDiskFault = false
  var storageFault = false
  /// The power goes once the member has given its next vote.
  var crashesAfterVote = false

  /// How fast the machine's clock goes, in parts of a thousand of true time, and what it shows at 0.
  let clockPerMille: UInt64
  private let clockOffset: UInt64

  var isPaused = false
  /// What reached the paused member.
  var deferred: [EventQueue.Action] = []
  static let deferredMax = 20_000

  /// How long a sync of the log takes at most, in microseconds.
  var syncMicrosecondsMax = SimulatedNode.syncMicrosecondsUsual
  static let syncMicrosecondsUsual = 3000

  init(
    number: Int,
    name: String,
    id: MemberID,
    clockPerMille: UInt64,
    clockOffset: UInt64,
    isJoiner: Bool,
    seed: UInt64
  ) {
    self.number = number
    self.name = name
    self.id = id
    self.clockPerMille = clockPerMille
    self.clockOffset = clockOffset
    self.isJoiner = isJoiner
    files = SimulatedFileSystem(seed: seed)
  }

  /// What the machine's clock shows at a true time.
  func clock(at time: UInt64) -> UInt64 { clockOffset + time / 1000 * clockPerMille }

  /// How long a span of the machine's clock takes in true time.
  func trueSpan(_ span: UInt64) -> UInt64 { span / clockPerMille * 1000 }

  var isUp: Bool { member != nil }
}
