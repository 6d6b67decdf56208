import Base

/// A change of one key as the index keeps it: 16 bytes.
@frozen
package struct KeyChange: Equatable, Sendable {
  package var main: Int64
  package var sub: UInt32
  private var flags: UInt32

  @inline(__always)
  package init(main: Int64, sub: UInt32, isTombstone: Bool) {
    self.main = main
    self.sub = sub
    flags = isTombstone ? 1 : 0
  }

  /// Whether this change deleted the key.
  @inline(__always)
  package var isTombstone: Bool { flags != 0 }
}

/// The bytes of a key with their length in the four bytes before them: what nodes point to.
/// Separators of inner nodes are this and nothing more.
struct KeyPointer {
  let start: UnsafeMutableRawPointer

  /// Bytes before a separator's key bytes.
  static let separatorHeader = 8
  private static let flagBits: UInt32 = 2

  @inline(__always)
  init(start: UnsafeMutableRawPointer) {
    self.start = start
  }

  @inline(__always)
  var tag: UInt32 {
    get { (start - 4).load(as: UInt32.self) }
    nonmutating set { (start - 4).storeBytes(of: newValue, as: UInt32.self) }
  }

  @inline(__always)
  var count: Int { Int(tag >> Self.flagBits) }

  @inline(__always)
  var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: start, count: count) }

  static func makeTag(count: Int) -> UInt32 {
    precondition(count < 1 << 30)
    return UInt32(count) << flagBits
  }

  /// A separator that holds a copy of `key`.
  static func makeSeparator(_ key: UnsafeRawBufferPointer, in slab: KeySlab) -> KeyPointer {
    let pointer = KeyPointer(start: slab.allocate(separatorHeader + key.count) + separatorHeader)
    pointer.tag = makeTag(count: key.count)
    if let base = key.baseAddress {
      pointer.start.copyMemory(from: base, byteCount: key.count)
    }
    return pointer
  }

  func freeSeparator(in slab: KeySlab) {
    slab.deallocate(start - Self.separatorHeader, count: Self.separatorHeader + count)
  }
}

/// Everything the index knows about one key, in one block of slab memory:
///
///     0   history      pointer to the older changes, or null
///     8   createMain   where the current life began; 0 when the key is deleted
///     16  modMain      main revision of the newest change
///     24  version      puts in the current life; 0 when the key is deleted
///     32  modSub       sub-revision of the newest change
///     36  pairBytes    length of the newest change's encoded pair; 0 when the key is deleted
///     40  tag          key length << 2 | lease << 1 | live
///     44  the key's bytes
struct KeyRecord {
  static let headerBytes = 44
  private static let liveFlag: UInt32 = 1
  private static let leaseFlag: UInt32 = 2

  let pointer: KeyPointer

  @inline(__always)
  init(_ pointer: KeyPointer) {
    self.pointer = pointer
  }

  static func make(_ key: UnsafeRawBufferPointer, in slab: KeySlab) -> KeyRecord {
    let block = slab.allocate(headerBytes + key.count)
    block.initializeMemory(as: UInt32.self, repeating: 0, count: headerBytes / 4)
    let record = KeyRecord(KeyPointer(start: block + headerBytes))
    record.pointer.tag = KeyPointer.makeTag(count: key.count)
    if let base = key.baseAddress {
      record.pointer.start.copyMemory(from: base, byteCount: key.count)
    }
    return record
  }

  func free(in slab: KeySlab) {
    RevisionHistory.free(history)
    slab.deallocate(base, count: Self.headerBytes + pointer.count)
  }

  /// Frees the record's block if it did not come from one of the slab's chunks.
  func freeOversized(in slab: KeySlab) {
    slab.deallocate(base, count: Self.headerBytes + pointer.count)
  }

  @inline(__always)
  private var base: UnsafeMutableRawPointer { pointer.start - Self.headerBytes }

  @inline(__always)
  var key: UnsafeRawBufferPointer { pointer.bytes }

  @inline(__always)
  var history: RevisionHistory? {
    get { base.load(as: UnsafeMutableRawPointer?.self).map(RevisionHistory.init) }
    nonmutating set { base.storeBytes(of: newValue?.base, as: UnsafeMutableRawPointer?.self) }
  }

  @inline(__always)
  var createMain: Int64 {
    get { base.load(fromByteOffset: 8, as: Int64.self) }
    nonmutating set { base.storeBytes(of: newValue, toByteOffset: 8, as: Int64.self) }
  }

  @inline(__always)
  var modMain: Int64 {
    get { base.load(fromByteOffset: 16, as: Int64.self) }
    nonmutating set { base.storeBytes(of: newValue, toByteOffset: 16, as: Int64.self) }
  }

  @inline(__always)
  var version: Int64 {
    get { base.load(fromByteOffset: 24, as: Int64.self) }
    nonmutating set { base.storeBytes(of: newValue, toByteOffset: 24, as: Int64.self) }
  }

  @inline(__always)
  var modSub: UInt32 {
    get { base.load(fromByteOffset: 32, as: UInt32.self) }
    nonmutating set { base.storeBytes(of: newValue, toByteOffset: 32, as: UInt32.self) }
  }

  @inline(__always)
  var pairBytes: UInt32 {
    get { base.load(fromByteOffset: 36, as: UInt32.self) }
    nonmutating set { base.storeBytes(of: newValue, toByteOffset: 36, as: UInt32.self) }
  }

  @inline(__always)
  var isLive: Bool {
    get { pointer.tag & Self.liveFlag != 0 }
    nonmutating set {
      pointer.tag = newValue ? pointer.tag | Self.liveFlag : pointer.tag & ~Self.liveFlag
    }
  }

  /// Whether the newest change attached the key to a lease.
  @inline(__always)
  var hasLease: Bool {
    get { pointer.tag & Self.leaseFlag != 0 }
    nonmutating set {
      pointer.tag = newValue ? pointer.tag | Self.leaseFlag : pointer.tag & ~Self.leaseFlag
    }
  }

  /// The newest change.
  @inline(__always)
  var newest: KeyChange { KeyChange(main: modMain, sub: modSub, isTombstone: !isLive) }

  /// The newest change at or before main revision `revision`, a tombstone included.
  @inline(__always)
  func change(at revision: Int64) -> KeyChange? {
    if modMain <= revision { return modMain == 0 ? nil : newest }
    return history?.change(at: revision)
  }

  /// Notes the change that follows the newest one. `createMain` and `version` are the new life's.
  @inline(__always)
  func append(_ change: KeyChange, createMain: Int64, version: Int64) {
    if modMain != 0 { history = RevisionHistory.append(newest, to: history) }
    modMain = change.main
    modSub = change.sub
    self.createMain = createMain
    self.version = version
    pairBytes = 0
    isLive = !change.isTombstone
  }

  /// What a compaction left of a record.
  enum Compacted {
    case kept
    /// Nothing is left: the key goes.
    case emptied
    /// There is more to drop than was allowed.
    case unfinished
  }

  /// Forgets what compaction at main revision `revision` drops, the oldest first, at most
  /// `countMax` changes, and adds that to `dropped`.
  ///
  /// A tombstone exactly at `revision` stays until a later compaction, so that a watch opened
  /// there still sees the delete.
  func compact(
    at revision: Int64,
    countMax: Int,
    into dropped: inout [ChangeRevision]
  ) -> Compacted {
    if let old = history {
      let isNewestKept = modMain <= revision
      let step = old.compacted(
        at: revision,
        keepingLast: !isNewestKept,
        countMax: countMax,
        into: &dropped
      )
      history = step.history
      if !step.isDone { return .unfinished }
    }
    guard !isLive && modMain < revision else { return .kept }
    dropped.append(ChangeRevision(main: modMain, sub: Int64(modSub)))
    return .emptied
  }
}
