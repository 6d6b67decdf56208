import Base
import Storage

/// Rebuilds the index from what is stored.
enum StoreRestorer {
  struct Restored {
    var index: KeyIndex
    var state: StoredState
  }

  static func restore(
    from storage: TieredStorage,
    _ leases: (any LeaseTable)?
  ) throws(StorageError) -> Restored {
    let index = KeyIndex()
    var state = StoredState()
    if let bytes = try storage.metadata(StoredState.key) {
      guard let decoded = StoredState(decoding: bytes) else {
        throw .corrupt(path: "", reason: "the store's state record does not read back")
      }
      state = decoded
    }
    var isDamaged = false
    try storage.base.scanAll { revision, isTombstone, encoded in
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
    return Restored(index: index, state: state)
  }
}
