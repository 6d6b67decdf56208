import Base
import Storage

/// What one thread needs to read from the store. Not to be shared by threads; one read at a time.
package final class StoreReader {
  /// Keys resolved to revisions under one hold of the store's lock.
  static let chunkKeysMax = 1000

  private let values: StorageReader
  /// The keys of the chunk at hand.
  let chunk: UnsafeMutablePointer<ResolvedKey>
  var chunkCount = 0
  /// The last key of the chunk, from which the next one goes on.
  var lastKey = ByteWriter(capacity: 64)
  /// What compares and branches of a read-only txn came to.
  var txnPath: [Bool] = []
  /// Pairs gathered for sorting.
  var gathered: [GatheredPair] = []

  init(_ storage: TieredStorage) {
    values = storage.makeReader()
    chunk = .allocate(capacity: Self.chunkKeysMax)
  }

  deinit {
    chunk.deallocate()
  }

  /// Holds on to whatever the index names from now on. Call it before resolving keys; nests.
  @inline(__always)
  func begin() { values.begin() }

  /// Lets go, of all pairs read since `begin` too.
  @inline(__always)
  func end() { values.end() }

  /// The encoded pair of a change, valid until `end`. Throws `.corrupt` when it is not there.
  @inline(__always)
  func pair(_ main: Int64, _ sub: UInt32) throws(StoreError) -> UnsafeRawBufferPointer {
    let found: RevisionValue?
    do throws(StorageError) {
      found = try values.value(of: ChangeRevision(main: main, sub: Int64(sub)))
    } catch {
      throw .corrupt
    }
    guard let found else { throw .corrupt }
    return found.bytes
  }

  /// Visits every stored revision from main revision `first` up to `last`, in order. Throws
  /// `.corrupt`.
  func scan(
    from first: Int64 = 0,
    through last: Int64,
    _ visit: RevisionVisitor
  ) throws(StoreError) {
    do throws(StorageError) {
      try values.scan(
        from: ChangeRevision(main: first, sub: 0),
        through: ChangeRevision(main: last, sub: .max),
        visit
      )
    } catch {
      throw .corrupt
    }
  }
}

/// A key of a range as the index knew it while the lock was held.
struct ResolvedKey {
  var main: Int64
  var sub: UInt32
  /// Where the key's life began, and its version; 0 when only the stored pair says.
  var createMain: Int64
  var version: Int64
  /// The length of the encoded pair; 0 when only the stored pair says.
  var pairBytes: UInt32
}

/// A pair that waits to be sorted.
struct GatheredPair {
  var bytes: KeyValueBytes
  var position: Int
}
