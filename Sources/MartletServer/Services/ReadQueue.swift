import RPC
import Replica

/// Linearizable reads of one event loop that wait for the replica's word, by rounds: all reads
/// that come before a round is closed share it.
struct ReadQueue {
  struct Read {
    var request: ReadRequest
    var call: CallID
    /// See `RequestLoop.admit`.
    var stamp: PublishedAuth.Stamp?
  }

  private struct Round {
    var context: UInt64
    var begin: UInt64
    var reads: [Read]
  }

  private var open: [Read] = []
  private var openBegin: UInt64 = 0
  private var rounds: [Round] = []
  private var nextRound: UInt64 = 0

  /// Reads that wait, and the bytes of their requests.
  private(set) var count = 0
  private(set) var byteCount = 0

  /// How many low bits of a context name the event loop.
  private static let loopBits: UInt64 = 16

  /// The number that stands for no event loop: no member has as many.
  static let noLoop = 1 << loopBits - 1

  static func context(round: UInt64, loop: Int) -> UInt64 { round << loopBits | UInt64(loop) }

  /// The event loop that asked for a round.
  static func loop(of context: UInt64) -> Int { Int(context & (1 << loopBits - 1)) }

  /// Adds a read to the round that is about to start. Returns true for its first.
  mutating func append(
    _ request: ReadRequest,
    _ call: CallID,
    _ stamp: PublishedAuth.Stamp?,
    now: MonotonicTime
  ) -> Bool {
    open.append(Read(request: request, call: call, stamp: stamp))
    count += 1
    byteCount += request.byteCount
    if open.count == 1 { openBegin = now.nanoseconds }
    return open.count == 1
  }

  /// Starts the round and returns its name.
  mutating func closeRound(loop: Int) -> UInt64 {
    let context = Self.context(round: nextRound, loop: loop)
    nextRound += 1
    rounds.append(Round(context: context, begin: openBegin, reads: open))
    open = []
    return context
  }

  /// The reads of a round, which is over.
  mutating func takeRound(_ context: UInt64) -> [Read] {
    guard let place = rounds.firstIndex(where: { $0.context == context }) else { return [] }
    return remove(place)
  }

  /// The reads of rounds that began before a moment and are not over.
  mutating func takeOverdue(before moment: UInt64) -> [Read] {
    var overdue: [Read] = []
    while let oldest = rounds.first, oldest.begin < moment { overdue += remove(0) }
    return overdue
  }

  private mutating func remove(_ place: Int) -> [Read] {
    let reads = rounds.remove(at: place).reads
    count -= reads.count
    byteCount -= reads.reduce(0) { $0 + $1.request.byteCount }
    return reads
  }
}
