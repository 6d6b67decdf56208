import RPC
import Replica

/// Linearizable reads of one event loop that wait for the replica's word, by rounds: all reads
/// that come before a round is closed share it.
struct ReadQueue {
  struct Read {
    var request: ReadRequest
    var call: CallID
  }

  private var open: [Read] = []
  private var rounds: [(context: UInt64, reads: [Read])] = []
  private var nextRound: UInt64 = 0

  /// How many low bits of a context name the event loop.
  private static let loopBits: UInt64 = 16

  /// The event loop that asked for a round.
  static func loop(of context: UInt64) -> Int { Int(context & (1 << loopBits - 1)) }

  /// Adds a read to the round that is about to start. Returns true for its first.
  mutating func append(_ request: ReadRequest, _ call: CallID) -> Bool {
    open.append(Read(request: request, call: call))
    return open.count == 1
  }

  /// Starts the round and returns its name.
  mutating func closeRound(loop: Int) -> UInt64 {
    let context = nextRound << Self.loopBits | UInt64(loop)
    nextRound += 1
    rounds.append((context, open))
    open = []
    return context
  }

  /// The reads of a round, which is over.
  mutating func takeRound(_ context: UInt64) -> [Read] {
    guard let place = rounds.firstIndex(where: { $0.context == context }) else { return [] }
    return rounds.remove(at: place).reads
  }
}
