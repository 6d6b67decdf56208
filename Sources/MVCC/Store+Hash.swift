package import Base
import CSupport

/// What HashKV answers.
package struct RevisionHash: Equatable, Sendable {
  package var hash: UInt32
  /// The compacted revision; -1 when there was no compaction yet.
  package var compactRevision: Revision
  /// The revision up to which was hashed.
  package var hashRevision: Revision
  /// The store's revision, for the header.
  package var currentRevision: Revision
}

extension Store {
  /// The hash of the history up to `revision` (0: up to the newest), equal to that of etcd 3.4 for
  /// the same history. Any thread; takes long.
  ///
  /// CRC32C over "key" and then, in order, each revision and its stored pair; at or below the
  /// compacted revision, only of pairs that still exist at `revision`.
  /// Throws `.compacted` for a revision not above the compacted one, `.futureRevision`, `.corrupt`.
  package func hashKV(
    revision: Revision, reader: StoreReader
  ) throws(StoreError) -> RevisionHash {
    try withReadContext(reader) { context throws(StoreError) in
      if revision.rawValue > 0 && revision.rawValue <= context.compacted { throw .compacted }
      if revision.rawValue > context.revision { throw .futureRevision }
      let wanted = revision.rawValue > 0 ? revision.rawValue : context.revision
      // With no pair left at `wanted`, etcd counts all that compaction keeps.
      let hasLive = { () -> Bool in
        _ = context.resolve(.all, at: wanted, limit: 1, continuing: false)
        return reader.chunkCount > 0
      }()
      let keptAt = hasLive ? wanted : context.compacted
      var hasher = RevisionHasher()
      try hasher.run(context, upTo: wanted) { main, sub, encoded in
        if main > context.compacted { return true }
        guard let key = KeyValueBytes.key(of: encoded) else { return false }
        let change = context.withIndex { $0.change(of: key, at: keptAt) }
        return change?.main == main && change?.sub == sub
      }
      return RevisionHash(
        hash: hasher.hash, compactRevision: Revision(context.compacted),
        hashRevision: Revision(wanted), currentRevision: Revision(context.revision))
    }
  }

  /// The hash of everything stored, whether compaction will remove it or not. Any thread; takes long.
  package func hash(reader: StoreReader) throws(StoreError) -> (hash: UInt32, Revision) {
    try withReadContext(reader) { context throws(StoreError) in
      var hasher = RevisionHasher()
      try hasher.run(context, upTo: context.revision) { _, _, _ in true }
      return (hasher.hash, Revision(context.revision))
    }
  }
}

/// CRC32C over revisions in the form in which etcd's backend stores them.
private struct RevisionHasher {
  private(set) var hash: UInt32

  init() {
    hash = Array("key".utf8).withUnsafeBytes { martlet_crc32c(0, $0.baseAddress, $0.count) }
  }

  mutating func run(
    _ context: ReadContext, upTo revision: Int64,
    where isIncluded: (Int64, UInt32, UnsafeRawBufferPointer) -> Bool
  ) throws(StoreError) {
    do {
      try context.reader.values.forEach(from: 0, 0) { main, sub, isTombstone, encoded in
        if main > revision { return false }
        if isIncluded(main, sub, encoded) { add(main, sub, isTombstone, encoded) }
        return true
      }
    } catch {
      throw .corrupt
    }
  }

  /// main and sub as 8 bytes each, big endian, with "_" between; "t" after them for a tombstone.
  private mutating func add(
    _ main: Int64, _ sub: UInt32, _ isTombstone: Bool, _ encoded: UnsafeRawBufferPointer
  ) {
    withUnsafeTemporaryAllocation(byteCount: 18, alignment: 8) { key in
      key.storeBytes(of: main.bigEndian, as: Int64.self)
      key.storeBytes(of: UInt8(ascii: "_"), toByteOffset: 8, as: UInt8.self)
      key.storeBytes(of: Int64(sub).bigEndian, toByteOffset: 9, as: Int64.self)
      key.storeBytes(of: UInt8(ascii: "t"), toByteOffset: 17, as: UInt8.self)
      hash = martlet_crc32c(hash, key.baseAddress, isTombstone ? 18 : 17)
    }
    hash = martlet_crc32c(hash, encoded.baseAddress, encoded.count)
  }
}
