import Base
import Replica

/// The proposals of one event loop that have no answer: finds those that wait for too long, after a
/// lost leader or while the disk refuses, and those that are known to be lost.
///
/// A batch of proposals is answered in order, so a count tells when all of it is, as long as nothing
/// is lost. In a cluster of several something may be, and the count runs ahead by that: a batch that
/// seems done is looked at before it is forgotten, and kept if one of its calls is open.
struct ProposalTimeouts {
  struct Batch {
    /// See `ProposalBlockName.sequence`.
    var sequence: UInt64
    var begin: MonotonicTime
    var deadline: MonotonicTime
    var unanswered: Int
    var block: ByteBlock
  }

  private let timeoutNanoseconds: UInt64
  private var batches: [Batch] = []
  private var first = 0
  /// Batches out of order: by the count all of them were answered, or they were proposed again.
  private var stragglers: [Batch] = []
  private var lastSequence: UInt64 = 0
  /// Whether the proposals up to this block are done, nobody knows.
  private var unknownThrough: UInt64 = 0
  /// Proposals handed over that have no answer yet.
  private(set) var unanswered = 0
  /// The bytes of the batches that are kept.
  private(set) var byteCount = 0

  /// Batches behind `first` are let go when there are this many.
  private static let compactionCount = 256

  init(timeoutNanoseconds: UInt64) {
    self.timeoutNanoseconds = timeoutNanoseconds
  }

  /// Returns the number of the block.
  mutating func noteProposed(_ block: ByteBlock, count: Int, now: MonotonicTime) -> UInt64 {
    lastSequence += 1
    unanswered += count
    byteCount += block.count
    batches.append(
      Batch(
        sequence: lastSequence,
        begin: now,
        deadline: now.advanced(byNanoseconds: timeoutNanoseconds),
        unanswered: count,
        block: block
      )
    )
    return lastSequence
  }

  /// Notes what is left of a batch and is proposed again, within the same time. Returns the number
  /// of the new block.
  mutating func noteRepeated(_ batch: Batch, as block: ByteBlock) -> UInt64 {
    lastSequence += 1
    byteCount += block.count
    var repeated = batch
    repeated.sequence = lastSequence
    repeated.block = block
    stragglers.append(repeated)
    return lastSequence
  }

  /// Notes so many answers. `isOpen` tells of a call whether it still waits; nil: nothing can be
  /// lost here.
  mutating func noteAnswered(_ count: Int, isOpen: ((_ call: UInt64) -> Bool)?) {
    var left = count
    while left > 0, first < batches.count {
      let part = min(left, batches[first].unanswered)
      batches[first].unanswered -= part
      left -= part
      unanswered -= part
      guard batches[first].unanswered == 0 else { return }
      if let isOpen, ProposalBatch.calls(in: batches[first].block).contains(where: isOpen) {
        byteCount += batches[first].block.count
        stragglers.append(batches[first])
      }
      dropFirst()
    }
  }

  /// The calls of batches whose time is over, with the beginning of that; some of them may have been
  /// answered.
  mutating func takeOverdue(now: MonotonicTime) -> [(call: UInt64, begin: MonotonicTime)] {
    var calls: [(call: UInt64, begin: MonotonicTime)] = []
    func add(_ batch: Batch) {
      calls += ProposalBatch.calls(in: batch.block).map { ($0, batch.begin) }
    }
    while first < batches.count, batches[first].deadline <= now {
      unanswered -= batches[first].unanswered
      add(batches[first])
      dropFirst()
    }
    for batch in stragglers where batch.deadline <= now {
      byteCount -= batch.block.count
      add(batch)
    }
    stragglers.removeAll { $0.deadline <= now }
    return calls
  }

  /// The batches up to a block, which are over: what is still open of them is not done, unless
  /// `loseTrack` said otherwise.
  mutating func takeNotDone(through sequence: UInt64) -> [Batch] {
    var taken: [Batch] = []
    while first < batches.count, batches[first].sequence <= sequence,
      batches[first].sequence > unknownThrough
    {
      unanswered -= batches[first].unanswered
      taken.append(batches[first])
      dropFirst()
    }
    let unknownThrough = unknownThrough
    func isTaken(_ batch: Batch) -> Bool {
      batch.sequence <= sequence && batch.sequence > unknownThrough
    }
    for batch in stragglers where isTaken(batch) {
      byteCount -= batch.block.count
      taken.append(batch)
    }
    stragglers.removeAll(where: isTaken)
    return taken
  }

  /// Whether the proposals up to a block are done will not be known: they only wait for their time
  /// to be over.
  mutating func loseTrack(through sequence: UInt64) {
    unknownThrough = max(unknownThrough, sequence)
    // Out of the way of later ones.
    while first < batches.count, batches[first].sequence <= sequence {
      unanswered -= batches[first].unanswered
      byteCount += batches[first].block.count
      stragglers.append(batches[first])
      dropFirst()
    }
  }

  private mutating func dropFirst() {
    byteCount -= batches[first].block.count
    first += 1
    // The blocks before `first` are memory of answered requests.
    if first == batches.count || first >= Self.compactionCount {
      batches.removeFirst(first)
      first = 0
    }
  }
}
