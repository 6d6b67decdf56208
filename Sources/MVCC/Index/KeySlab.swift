/// Memory for key records: sizes in steps of 8 bytes, cut from large chunks, reused by size.
///
/// One owner; freed memory goes to a list of its size and never back to the system, so the slab
/// holds what the index held at its largest.
final class KeySlab {
  static let chunkBytes = 256 << 10
  static let pooledBytesMax = 1024
  private static let stepShift = 3

  private var chunks: [UnsafeMutableRawPointer] = []
  private var cursor: UnsafeMutableRawPointer?
  private var rest = 0
  /// First free block per size; a free block's first word points to the next one.
  private let free: UnsafeMutablePointer<UnsafeMutableRawPointer?>
  private let classes = (KeySlab.pooledBytesMax >> KeySlab.stepShift) + 1

  /// Bytes taken from the system, large records included.
  private(set) var bytesReserved = 0

  init() {
    free = .allocate(capacity: classes)
    free.initialize(repeating: nil, count: classes)
  }

  deinit {
    for chunk in chunks { chunk.deallocate() }
    free.deallocate()
  }

  /// At least `count` bytes, aligned to 8.
  func allocate(_ count: Int) -> UnsafeMutableRawPointer {
    let size = (count + 7) & ~7
    if size > Self.pooledBytesMax {
      bytesReserved += size
      return .allocate(byteCount: size, alignment: 8)
    }
    let slot = size >> Self.stepShift
    if let block = free[slot] {
      free[slot] = block.load(as: UnsafeMutableRawPointer?.self)
      return block
    }
    if rest < size { refill() }
    guard let block = cursor else { preconditionFailure("the slab has no chunk after a refill") }
    cursor = block + size
    rest -= size
    return block
  }

  /// Gives back what `allocate(count)` returned, with the same `count`.
  func deallocate(_ block: UnsafeMutableRawPointer, count: Int) {
    let size = (count + 7) & ~7
    if size > Self.pooledBytesMax {
      bytesReserved -= size
      block.deallocate()
      return
    }
    let slot = size >> Self.stepShift
    block.storeBytes(of: free[slot], as: UnsafeMutableRawPointer?.self)
    free[slot] = block
  }

  @inline(never)
  private func refill() {
    let chunk = UnsafeMutableRawPointer.allocate(byteCount: Self.chunkBytes, alignment: 16)
    chunks.append(chunk)
    cursor = chunk
    rest = Self.chunkBytes
    bytesReserved += Self.chunkBytes
  }
}
