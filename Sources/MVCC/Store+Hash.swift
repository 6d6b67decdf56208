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

  package init(
    hash: UInt32,
    compactRevision: Revision,
    hashRevision: Revision,
    currentRevision: Revision
  ) {
    self.hash = hash
    self.compactRevision = compactRevision
    self.hashRevision = hashRevision
    self.currentRevision = currentRevision
  }
}

extension Store {
  /// The hash of the history up to `revision` (0: up to the newest), equal to that of etcd 3.4 for
  /// the same history. Any thread; takes long.
  ///
  /// CRC32C over "key" and then, in order, each revision and its stored pair; at or below the
  /// compacted revision, only of pairs that still exist at `revision`.
  /// Throws `.compacted` for a revision not above the compacted one, `.futureRevision`, `.corrupt`.
  package func hashKV(
    revision: Revision,
    reader: StoreReader
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
      try hasher.run(context, upTo: wanted) { revision, encoded in
        context.isKept(revision, encoded, at: keptAt)
      }
      return RevisionHash(
        hash: hasher.hash,
        compactRevision: Revision(context.compacted),
        hashRevision: Revision(wanted),
        currentRevision: Revision(context.revision)
      )
    }
  }

  /// The hash of the whole history that compaction keeps. Any thread; takes long.
  package func hash(reader: StoreReader) throws(StoreError) -> (hash: UInt32, Revision) {
    try withReadContext(reader) { context throws(StoreError) in
      var hasher = RevisionHasher()
      try hasher.run(context, upTo: context.revision) { revision, encoded in
        context.isKept(revision, encoded, at: context.compacted)
      }
      return (hasher.hash, Revision(context.revision))
    }
  }
}

extension ReadContext {
  /// Whether a stored revision counts: above the compacted one always, else when it is what its key
  /// has at main revision `keptAt`.
  fileprivate func isKept(
    _ revision: ChangeRevision,
    _ encoded: UnsafeRawBufferPointer,
    at keptAt: Int64
  ) -> Bool {
    if revision.main > compacted { return true }
    guard let key = KeyValueBytes.key(of: encoded),
      let change = withIndex({ $0.change(of: key, at: keptAt) })
    else { return false }
    return change.main == revision.main && Int64(change.sub) == revision.sub
  }
}

/// CRC32C over revisions in the form in which etcd's backend stores them.
private struct RevisionHasher {
  private(set) var hash: UInt32

  init() {
    hash = Array("key".utf8).withUnsafeBytes { martlet_crc32c(0, $0.baseAddress, $0.count) }
  }

  mutating func run(
    _ context: ReadContext,
    upTo revision: Int64,
    where isIncluded: (ChangeRevision, UnsafeRawBufferPointer) -> Bool
  ) throws(StoreError) {
    var hash = hash
    try context.reader.scan(through: revision) { revision, isTombstone, encoded in
      if isIncluded(revision, encoded) { Self.add(revision, isTombstone, encoded, to: &hash) }
      return true
    }
    self.hash = hash
  }

  /// main and sub as 8 bytes each, big endian, with "_" between; "t" after them for a tombstone.
  private static func add(
    _ revision: ChangeRevision,
    _ isTombstone: Bool,
    _ encoded: UnsafeRawBufferPointer,
    to hash: inout UInt32
  ) {
    withUnsafeTemporaryAllocation(byteCount: 18, alignment: 8) { key in
      key.storeBytes(of: revision.main.bigEndian, as: Int64.self)
      key.storeBytes(of: UInt8(ascii: "_"), toByteOffset: 8, as: UInt8.self)
      key.storeBytes(of: revision.sub.bigEndian, toByteOffset: 9, as: Int64.self)
      key.storeBytes(of: UInt8(ascii: "t"), toByteOffset: 17, as: UInt8.self)
      hash = martlet_crc32c(hash, key.baseAddress, isTombstone ? 18 : 17)
    }
    hash = martlet_crc32c(hash, encoded.baseAddress, encoded.count)
  }
}
