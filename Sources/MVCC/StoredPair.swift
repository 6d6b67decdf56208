package import Base

/// Checks of stored pairs that come from elsewhere, before they are in a store.
package enum StoredPair {
  /// Why the bytes cannot be stored at `revision`; nil when they can.
  ///
  /// A pair must have a key and its revision; a tombstone has the key alone. What passes can be read
  /// back by `Store`.
  package static func flaw(
    _ encoded: UnsafeRawBufferPointer,
    at revision: ChangeRevision,
    isTombstone: Bool
  ) -> String? {
    guard revision.main > 0, revision.sub >= 0, UInt32(exactly: revision.sub) != nil else {
      return "there can be no such revision"
    }
    guard KeyValueBytes.key(of: encoded) != nil, let pair = KeyValueBytes(encoded) else {
      return "the pair cannot be read"
    }
    if isTombstone { return nil }
    guard pair.modRevision == revision.main else {
      return "the pair says that it is of revision \(pair.modRevision)"
    }
    guard (1...pair.modRevision).contains(pair.createRevision), pair.version >= 1 else {
      return "the pair has create revision \(pair.createRevision) and version \(pair.version)"
    }
    return nil
  }
}
