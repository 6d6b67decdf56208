package import Base
package import Storage

/// What a store has in memory beside its memtables, rebuilt from what is stored.
package final class StoreContent: Sendable {
  // Safe to share: whoever made it hands it on and does not look at it again.
  nonisolated(unsafe) let index: KeyIndex
  let state: StoredState

  fileprivate init(_ index: KeyIndex, _ state: StoredState) {
    self.index = index
    self.state = state
  }

  /// Reads everything in `storage`, and tells `leases`, which must know its leases already, the keys
  /// that hang on them.
  ///
  /// - Throws: `StorageError` when reading fails, `.corrupt` included.
  package convenience init(
    reading storage: any RevisionStorage,
    leases: (any LeaseTable)?
  ) throws(StorageError) {
    let builder = try Builder(reading: storage, leases: leases)
    var failure: StorageError?
    try storage.scanAll { revision, isTombstone, encoded in
      do throws(StorageError) {
        try builder.add(revision, isTombstone: isTombstone, encoded)
        return true
      } catch {
        failure = error
        return false
      }
    }
    if let failure { throw failure }
    self.init(builder.index, builder.state)
  }

  /// Makes the content of revisions that come one after the other.
  package struct Builder {
    fileprivate let index = KeyIndex()
    fileprivate let state: StoredState
    private let leases: (any LeaseTable)?

    /// `storage` has the metadata of the state to which the revisions belong, and `leases` knows its
    /// leases. Throws `StorageError`, `.corrupt` included.
    package init(
      reading storage: any RevisionStorage,
      leases: (any LeaseTable)?
    ) throws(StorageError) {
      self.leases = leases
      guard let bytes = try storage.metadata(StoredState.key) else {
        state = StoredState()
        return
      }
      guard let state = StoredState(decoding: bytes) else {
        throw .corrupt(path: "", reason: "the store's state record does not read back")
      }
      self.state = state
    }

    /// Adds a stored revision, which must be above all before it. Throws `.corrupt` when it cannot be
    /// one of the state.
    package func add(
      _ revision: ChangeRevision,
      isTombstone: Bool,
      _ encoded: UnsafeRawBufferPointer
    ) throws(StorageError) {
      guard let pair = KeyValueBytes(encoded), revision.main <= state.current,
        let sub = UInt32(exactly: revision.sub)
      else { throw .corrupt(path: "", reason: "a stored pair does not read back") }
      let hadLease = index.restore(
        pair.key,
        KeyChange(main: revision.main, sub: sub, isTombstone: isTombstone),
        createMain: pair.createRevision,
        version: pair.version,
        pairBytes: encoded.count,
        hasLease: pair.lease != 0
      )
      // In ascending order of revision, so what stays attached is what the newest ones say.
      guard let leases else { return }
      if hadLease { leases.detach(pair.key) }
      if pair.lease != 0 { leases.attach(pair.key, to: LeaseID(pair.lease)) }
    }

    /// What was added. The builder must not be used any more.
    package var content: StoreContent { StoreContent(index, state) }
  }
}
