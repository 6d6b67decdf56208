import Base
import Proto
import Synchronization

/// One read: at which revision, through which reader, and whether the store's lock is held anyway.
///
/// On the apply thread the batch holds the lock and the newest state is read. Elsewhere the lock is
/// taken for the moment of resolving keys, a chunk at a time; a pin keeps compaction away from the
/// revision in between.
struct ReadContext {
  let store: Store
  let reader: StoreReader
  /// The revision that the response's header names and that a request for "now" reads.
  let revision: Int64
  /// The compacted revision when the read began.
  let compacted: Int64
  let isApply: Bool

  @inline(__always)
  func withIndex<Result>(_ body: (KeyIndex) -> Result) -> Result {
    if isApply { return body(store.index) }
    store.lock.lockForReading()
    defer { store.lock.unlock() }
    return body(store.index)
  }

  /// The revision that a range asks for. Throws `.futureRevision` or `.compacted`.
  func readRevision(_ request: Etcdserverpb.RangeRequest.View) throws(StoreError) -> Int64 {
    if request.revision > revision { throw .futureRevision }
    let wanted = request.revision <= 0 ? revision : request.revision
    if wanted < compacted { throw .compacted }
    return wanted
  }

  /// Resolves up to `limit` further keys of `span` into the reader's chunk, going on after the
  /// reader's last key when `continuing`. Returns whether the span may hold more.
  func resolve(_ span: KeySpan, at wanted: Int64, limit: Int, continuing: Bool) -> Bool {
    let limit = min(limit, StoreReader.chunkKeysMax)
    reader.chunkCount = 0
    return withIndex { index in
      var isFull = false
      var last: KeyRecord?
      let start: UnsafeRawBufferPointer? = continuing ? reader.lastKey.bytes : nil
      index.scan(span, at: wanted, after: start) { record, change in
        if reader.chunkCount == limit {
          isFull = true
          return false
        }
        reader.chunk[reader.chunkCount] = Self.resolved(record, change)
        reader.chunkCount += 1
        last = record
        return true
      }
      if isFull, let last {
        reader.lastKey.removeAll()
        reader.lastKey.append(last.key)
      }
      return isFull
    }
  }

  @inline(__always)
  static func resolved(_ record: KeyRecord, _ change: KeyChange) -> ResolvedKey {
    let isNewest = record.modMain == change.main && record.modSub == change.sub
    return ResolvedKey(
      main: change.main,
      sub: change.sub,
      createMain: isNewest ? record.createMain : 0,
      version: isNewest ? record.version : 0,
      pairBytes: isNewest ? record.pairBytes : 0
    )
  }

  /// Keys in `span` at `wanted`: at the newest revision by the tree's counts, else by a walk.
  func count(_ span: KeySpan, at wanted: Int64) -> Int {
    let quick = withIndex { index in
      // Within a batch, what the txn at hand has done so far counts as well.
      wanted >= (isApply ? revision : store.current) ? index.liveCount(in: span) : nil
    }
    if let quick { return quick }
    var total = 0
    var continuing = false
    var goesOn = true
    while goesOn {
      goesOn = resolve(span, at: wanted, limit: .max, continuing: continuing)
      total += reader.chunkCount
      continuing = true
    }
    return total
  }
}

extension Store {
  /// Runs `body` with a context that reads the newest revision. When a snapshot was installed
  /// meanwhile, `body` runs again and must begin from its beginning.
  func withReadContext<Result>(
    _ reader: StoreReader,
    _ body: (ReadContext) throws(StoreError) -> Result
  ) throws(StoreError) -> Result {
    while true {
      let before = generation.load(ordering: .acquiring)
      do throws(StoreError) {
        let result = try withOneContext(reader, body)
        if isUnchanged(since: before) { return result }
      } catch {
        if isUnchanged(since: before) { throw error }
      }
    }
  }

  /// Whether no snapshot was installed since `generation` was as given, nor is being installed.
  @inline(__always)
  func isUnchanged(since before: Int) -> Bool {
    generation.load(ordering: .acquiring) == before
  }

  private func withOneContext<Result>(
    _ reader: StoreReader,
    _ body: (ReadContext) throws(StoreError) -> Result
  ) throws(StoreError) -> Result {
    reader.begin()
    lock.lockForReading()
    let context = ReadContext(
      store: self,
      reader: reader,
      revision: current,
      compacted: compacted,
      isApply: false
    )
    let pin = pins.pin(max(compacted, 0))
    lock.unlock()
    defer {
      reader.end()
      pins.unpin(pin)
    }
    return try body(context)
  }
}
