import Base
import Glibc
import Synchronization

/// Revisions that are not in the store below yet, in memory, ascending.
///
/// One thread appends. Any thread reads at the same time without a lock: an entry and its bytes
/// are written first, then `published` is raised past it (release); a reader looks only at entries
/// below the `published` it loaded (acquire). Nothing published is ever moved or changed, and the
/// memory is freed with the table.
final class Memtable: @unchecked Sendable {
  struct Entry {
    let revision: ChangeRevision
    let start: UnsafeRawPointer
    /// Length in the upper bits, the tombstone flag in the lowest.
    let lengthAndFlag: UInt

    var value: RevisionValue {
      RevisionValue(
        bytes: UnsafeRawBufferPointer(start: start, count: Int(lengthAndFlag >> 1)),
        tombstone: lengthAndFlag & 1 == 1
      )
    }
  }

  private static let segmentShift = 12
  private static let segmentEntries = 1 << segmentShift
  private static let segmentsMax = 1 << 14
  /// Most revisions in one table.
  static let entriesMax = segmentEntries * segmentsMax

  private let pool: ChunkPool
  private let published = Atomic<Int>(0)
  private let segments: UnsafeMutablePointer<UnsafeMutablePointer<Entry>?>
  // The writer's own from here on; `deinit` runs when nobody else is left.
  private var chunks: [UnsafeMutableRawPointer] = []
  private var oversized: [(start: UnsafeMutableRawPointer, byteCount: Int)] = []
  private var free: UnsafeMutableRawPointer?
  private var freeBytes = 0
  /// Payload and bookkeeping in bytes. Belongs to the writer until the table is sealed.
  private(set) var bytes = 0

  init(pool: ChunkPool) {
    self.pool = pool
    // Zeroed pages come from the system untouched, so an almost empty table costs almost nothing.
    let byteCount = Self.segmentsMax * MemoryLayout<UnsafeMutablePointer<Entry>?>.stride
    guard let zeroed = calloc(1, byteCount) else {
      fatalError("out of memory: \(byteCount) bytes for a memtable's directory")
    }
    segments = zeroed.bindMemory(
      to: UnsafeMutablePointer<Entry>?.self,
      capacity: Self.segmentsMax
    )
  }

  deinit {
    var index = 0
    while index < Self.segmentsMax, let segment = segments[index] {
      segment.deallocate()
      index += 1
    }
    Glibc.free(segments)
    pool.give(chunks)
    for block in oversized { ChunkPool.unmap(block.start, byteCount: block.byteCount) }
  }

  /// How many entries are published.
  var count: Int { published.load(ordering: .acquiring) }

  /// The entry at an index below a `count` seen before.
  @inline(__always)
  func entry(at index: Int) -> Entry {
    guard let segment = segments[index >> Self.segmentShift] else {
      preconditionFailure("entry \(index) of a memtable was never written")
    }
    return segment[index & (Self.segmentEntries - 1)]
  }

  /// The lowest revision, or nil while the table is empty.
  var first: ChangeRevision? { count > 0 ? entry(at: 0).revision : nil }

  /// Adds a revision above all others. Writer only.
  func append(_ revision: ChangeRevision, tombstone: Bool, _ value: UnsafeRawBufferPointer) {
    let start = claim(value.count)
    if let source = value.baseAddress { start.copyMemory(from: source, byteCount: value.count) }
    publish(
      Entry(
        revision: revision,
        start: start,
        lengthAndFlag: UInt(value.count) << 1 | (tombstone ? 1 : 0)
      )
    )
  }

  @inline(__always)
  private func claim(_ length: Int) -> UnsafeMutableRawPointer {
    if let free, length <= freeBytes {
      self.free = free + length
      freeBytes -= length
      return free
    }
    return claimElsewhere(length)
  }

  @inline(never)
  private func claimElsewhere(_ length: Int) -> UnsafeMutableRawPointer {
    if length > ChunkPool.chunkBytes / 4 {
      let start = ChunkPool.map(byteCount: length)
      oversized.append((start, length))
      return start
    }
    let chunk = pool.take()
    chunks.append(chunk)
    free = chunk + length
    freeBytes = ChunkPool.chunkBytes - length
    return chunk
  }

  @inline(__always)
  private func publish(_ entry: Entry) {
    let index = published.load(ordering: .relaxed)
    precondition(index < Self.entriesMax, "a memtable of \(index) entries was never sealed")
    let slot = index >> Self.segmentShift
    let segment: UnsafeMutablePointer<Entry>
    if let existing = segments[slot] {
      segment = existing
    } else {
      segment = .allocate(capacity: Self.segmentEntries)
      segments[slot] = segment
    }
    (segment + (index & (Self.segmentEntries - 1))).initialize(to: entry)
    bytes += Int(entry.lengthAndFlag >> 1) + MemoryLayout<Entry>.size
    published.store(index + 1, ordering: .releasing)
  }

  /// The value of a revision, if the table has it. Any thread.
  ///
  /// Mains ascend nearly without gaps, so the place is guessed by proportion and corrected by
  /// steps that double; with one change per revision the guess is exact.
  func find(_ revision: ChangeRevision) -> RevisionValue? {
    let count = self.count
    guard count > 0 else { return nil }
    let firstMain = entry(at: 0).revision.main
    let lastMain = entry(at: count - 1).revision.main
    guard revision.main >= firstMain, revision.main <= lastMain else { return nil }
    let offset = Int(revision.main - firstMain)
    let span = Int(lastMain - firstMain) + 1
    var probe =
      span == count ? offset : Int(Double(offset) / Double(span) * Double(count))
    probe = min(probe, count - 1)
    let guessed = entry(at: probe)
    if guessed.revision == revision { return guessed.value }
    // All entries below `low` are lower than the revision, all from `high` on are higher.
    var low = 0
    var high = count
    var step = 1
    if guessed.revision < revision {
      low = probe + 1
      while low + step < high, entry(at: low + step).revision <= revision {
        low += step
        step *= 2
      }
      high = min(high, low + step)
    } else {
      high = probe
      while high - step > low, entry(at: high - step).revision > revision {
        high -= step
        step *= 2
      }
      low = max(low, high - step)
    }
    return search(revision, low, high)
  }

  private func search(_ revision: ChangeRevision, _ low: Int, _ high: Int) -> RevisionValue? {
    var low = low
    var high = high
    while low < high {
      let middle = (low + high) / 2
      let candidate = entry(at: middle)
      if candidate.revision == revision { return candidate.value }
      if candidate.revision < revision { low = middle + 1 } else { high = middle }
    }
    return nil
  }

  /// Visits the entries published now, from `first` to `last`, both included.
  func scan(
    from first: ChangeRevision,
    through last: ChangeRevision,
    _ visit: RevisionVisitor
  ) -> Bool {
    let count = self.count
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      if entry(at: middle).revision < first { low = middle + 1 } else { high = middle }
    }
    for index in low..<count {
      let entry = entry(at: index)
      guard entry.revision <= last else { break }
      guard visit(entry.revision, entry.value.tombstone, entry.value.bytes) else { return false }
    }
    return true
  }
}
