import Base
import MVCC

/// The latest blocks without a gap between them, up to a bound.
struct RecentBlocks {
  private(set) var blocks: [EventBlock] = []
  /// The blocks before this place have been dropped.
  private var first = 0
  private var byteCount = 0

  /// What a block takes besides its bytes.
  private static let overheadBytes = 256

  var isEmpty: Bool { first == blocks.count }

  /// The blocks have every event after this revision.
  var after: Int64 { isEmpty ? .max : blocks[first].after.rawValue }

  var through: Int64 { blocks.last?.through.rawValue ?? .min }

  mutating func append(_ block: EventBlock, bytesMax: Int) {
    if !isEmpty, through < block.after.rawValue { removeAll() }
    blocks.append(block)
    byteCount += Self.size(block)
    while byteCount > bytesMax, !isEmpty {
      byteCount -= Self.size(blocks[first])
      first += 1
    }
    if first > blocks.count / 2 {
      blocks.removeFirst(first)
      first = 0
    }
  }

  mutating func removeAll() {
    guard !blocks.isEmpty else { return }
    blocks = []
    first = 0
    byteCount = 0
  }

  /// The blocks with events at or after `revision`.
  func since(_ revision: Int64) -> ArraySlice<EventBlock> {
    var low = first
    var high = blocks.count
    while low < high {
      let middle = (low + high) / 2
      if blocks[middle].through.rawValue < revision { low = middle + 1 } else { high = middle }
    }
    return blocks[low...]
  }

  private static func size(_ block: EventBlock) -> Int { block.block.count + overheadBytes }
}
