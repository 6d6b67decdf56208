import Base
package import Storage

/// What one thread needs to read from the store. Not to be shared by threads; one read at a time.
package final class StoreReader {
  /// Keys resolved to revisions under one hold of the store's lock.
  static let chunkKeysMax = 1000

  let values: StorageReader
  /// The keys of the chunk at hand.
  let chunk: UnsafeMutablePointer<ResolvedKey>
  var chunkCount = 0
  /// The last key of the chunk, from which the next one goes on.
  var lastKey = ByteWriter(capacity: 64)
  /// What compares and branches of a read-only txn came to.
  var txnPath: [Bool] = []
  /// Pairs gathered for sorting.
  var gathered: [GatheredPair] = []

  init(_ values: StorageReader) {
    self.values = values
    chunk = .allocate(capacity: Self.chunkKeysMax)
  }

  deinit {
    chunk.deallocate()
  }

  /// The encoded pair of a change, valid until the storage reader's `end`.
  @inline(__always)
  func pair(_ main: Int64, _ sub: UInt32) throws(StoreError) -> UnsafeRawBufferPointer {
    guard let bytes = values.value(main: main, sub: sub) else { throw .corrupt }
    return bytes
  }
}

/// A key of a range as the index knew it while the lock was held.
struct ResolvedKey {
  var main: Int64
  var sub: UInt32
  /// Where the key's life began, and its version; 0 when only the stored pair says.
  var createMain: Int64
  var version: Int64
}

/// A pair that waits to be sorted.
struct GatheredPair {
  var bytes: KeyValueBytes
  var position: Int
}
