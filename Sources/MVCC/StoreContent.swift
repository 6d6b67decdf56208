import Base
package import Storage

/// What a store has in memory beside its memtables, rebuilt from what is stored.
package final class StoreContent: Sendable {
  // Safe to share: whoever made it hands it on and does not look at it again.
  nonisolated(unsafe) let index: KeyIndex
  let state: StoredState

  /// Reads everything in `storage`, and tells `leases`, which must know its leases already, the keys
  /// that hang on them.
  ///
  /// - Throws: `StorageError` when reading fails, `.corrupt` included.
  package init(
    reading storage: any RevisionStorage,
    leases: (any LeaseTable)?
  ) throws(StorageError) {
    let index = KeyIndex()
    var state = StoredState()
    if let bytes = try storage.metadata(StoredState.key) {
      guard let decoded = StoredState(decoding: bytes) else {
        throw .corrupt(path: "", reason: "the store's state record does not read back")
      }
      state = decoded
    }
    var isDamaged = false
    try storage.scanAll { revision, isTombstone, encoded in
      guard let pair = KeyValueBytes(encoded), revision.main <= state.current,
        let sub = UInt32(exactly: revision.sub)
      else {
        isDamaged = true
        return false
      }
      let hadLease = index.restore(
        pair.key,
        KeyChange(main: revision.main, sub: sub, isTombstone: isTombstone),
        createMain: pair.createRevision,
        version: pair.version,
        pairBytes: encoded.count,
        hasLease: pair.lease != 0
      )
      // In ascending order of revision, so what stays attached is what the newest ones say.
      if let leases {
        if hadLease { leases.detach(pair.key) }
        if pair.lease != 0 { leases.attach(pair.key, to: LeaseID(pair.lease)) }
      }
      return true
    }
    if isDamaged { throw .corrupt(path: "", reason: "a stored pair does not read back") }
    self.index = index
    self.state = state
  }
}
