import Storage

/// Rebuilds the index from what is stored.
enum StoreRestorer {
  struct Restored {
    var index: KeyIndex
    var state: StoredState
  }

  static func restore(from storage: TieredStorage) throws(StorageError) -> Restored {
    let index = KeyIndex()
    var state = StoredState()
    if let bytes = try storage.metadata(StoredState.key) {
      guard let decoded = StoredState(decoding: bytes) else {
        throw .corrupt("the store's state record does not read back")
      }
      state = decoded
    }
    var isDamaged = false
    try storage.forEachStored(from: 0, 0) { main, sub, isTombstone, encoded in
      guard let pair = KeyValueBytes(encoded), main <= state.current else {
        isDamaged = true
        return false
      }
      index.restore(
        pair.key, KeyChange(main: main, sub: sub, isTombstone: isTombstone),
        createMain: pair.createRevision, version: pair.version, hasLease: pair.lease != 0)
      return true
    }
    if isDamaged { throw .corrupt("a stored pair does not read back") }
    return Restored(index: index, state: state)
  }
}
