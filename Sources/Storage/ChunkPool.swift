import Glibc
import Synchronization

/// Memory for memtables in chunks of one size, kept for reuse: a fresh page costs a fault and its
/// zeroing, which is more than appending to it.
final class ChunkPool: Sendable {
  /// Size of a chunk.
  static let chunkBytes = 1 << 20

  private struct Free: @unchecked Sendable {
    var chunks: [UnsafeMutableRawPointer] = []
  }

  private let free = Mutex(Free())
  private let keptBytesMax: Int

  /// - Parameter keptBytesMax: how much unused memory `trim` leaves for reuse.
  init(keptBytesMax: Int) {
    self.keptBytesMax = keptBytesMax
  }

  deinit {
    free.withLock { free in
      for chunk in free.chunks { Self.unmap(chunk, byteCount: Self.chunkBytes) }
    }
  }

  /// A chunk with undefined content.
  func take() -> UnsafeMutableRawPointer {
    let reused = free.withLock { free in
      Free(chunks: free.chunks.popLast().map { [$0] } ?? [])
    }
    return reused.chunks.first ?? Self.map(byteCount: Self.chunkBytes)
  }

  /// Takes chunks back; cheap, so that any thread may drop the last reference to a memtable.
  func give(_ chunks: [UnsafeMutableRawPointer]) {
    let given = Free(chunks: chunks)
    free.withLock { $0.chunks.append(contentsOf: given.chunks) }
  }

  /// Gives memory above `keptBytesMax` back to the system. For a background thread.
  func trim() {
    let excess = free.withLock { free in
      let kept = min(free.chunks.count, keptBytesMax / Self.chunkBytes)
      let excess = Free(chunks: Array(free.chunks[kept...]))
      free.chunks.removeLast(excess.chunks.count)
      return excess
    }
    for chunk in excess.chunks { Self.unmap(chunk, byteCount: Self.chunkBytes) }
  }

  static func map(byteCount: Int) -> UnsafeMutableRawPointer {
    let memory = mmap(
      nil,
      byteCount,
      PROT_READ | PROT_WRITE,
      MAP_PRIVATE | MAP_ANONYMOUS,
      -1,
      0
    )
    guard let memory, memory != MAP_FAILED else {
      fatalError("out of memory: \(byteCount) bytes for a memtable")
    }
    return memory
  }

  static func unmap(_ memory: UnsafeMutableRawPointer, byteCount: Int) {
    munmap(memory, byteCount)
  }
}
