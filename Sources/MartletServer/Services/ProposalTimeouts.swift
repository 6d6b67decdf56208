import Base
import Replica

/// Finds the proposals of one event loop that go unanswered for too long: after a lost leader, or
/// while the disk refuses.
///
/// A batch of proposals is answered in order, so a count is enough to know when all of it is. After
/// a loss the count runs ahead by what was lost, and ends batches up to one timeout early in being
/// watched, never in being answered.
struct ProposalTimeouts {
  private struct Batch {
    var deadline: MonotonicTime
    var unanswered: Int
    var block: ByteBlock
  }

  private let timeoutNanoseconds: UInt64
  private var batches: [Batch] = []
  private var first = 0
  /// Proposals handed over that have no answer yet.
  private(set) var unanswered = 0

  /// Batches behind `first` are let go when there are this many.
  private static let compactionCount = 256

  init(timeoutNanoseconds: UInt64) {
    self.timeoutNanoseconds = timeoutNanoseconds
  }

  mutating func noteProposed(_ block: ByteBlock, count: Int, now: MonotonicTime) {
    unanswered += count
    batches.append(
      Batch(
        deadline: now.advanced(byNanoseconds: timeoutNanoseconds),
        unanswered: count,
        block: block
      )
    )
  }

  mutating func noteAnswered(_ count: Int) {
    var left = count
    while left > 0, first < batches.count {
      let part = min(left, batches[first].unanswered)
      batches[first].unanswered -= part
      left -= part
      unanswered -= part
      if batches[first].unanswered == 0 { dropFirst() }
    }
  }

  /// The calls of batches whose time is over; some of them may have been answered.
  mutating func takeOverdue(now: MonotonicTime) -> [UInt64] {
    var calls: [UInt64] = []
    while first < batches.count, batches[first].deadline <= now {
      unanswered -= batches[first].unanswered
      calls += ProposalBatch.calls(in: batches[first].block)
      dropFirst()
    }
    return calls
  }

  private mutating func dropFirst() {
    first += 1
    // The blocks before `first` are memory of answered requests.
    if first == batches.count || first >= Self.compactionCount {
      batches.removeFirst(first)
      first = 0
    }
  }
}
