// Walking ranges.
extension KeyIndex {
  /// Calls `body` with each key of `span` that exists at main revision `revision` and the change
  /// that holds its value there, in order, until `body` answers false.
  ///
  /// `start` replaces the span's own start when a walk goes on after a pause: keys greater than it
  /// come next.
  @inline(__always)
  func scan(
    _ span: KeySpan,
    at revision: Int64,
    after start: UnsafeRawBufferPointer? = nil,
    _ body: (KeyRecord, KeyChange) -> Bool
  ) {
    if span.shape == .single {
      guard start == nil, let record = find(span.key) else { return }
      if let change = record.change(at: revision), !change.isTombstone { _ = body(record, change) }
      return
    }
    var (leaf, position, isEqual) = seek(start ?? span.key)
    if start != nil && isEqual { position += 1 }
    while true {
      // Where the whole leaf lies inside the span one comparison saves the others.
      let count = leaf.count
      let isInside = count > 0 && !span.isPast(leaf.keys[count - 1].bytes)
      while position < count {
        let record = leaf.record(position)
        if !isInside && span.isPast(record.key) { return }
        if let change = record.change(at: revision), !change.isTombstone,
          !body(record, change)
        {
          return
        }
        position += 1
      }
      guard let next = leaf.next else { return }
      leaf = next
      position = 0
    }
  }

  /// The key's change at main revision `revision`, unless it did not exist there.
  package func change(of key: UnsafeRawBufferPointer, at revision: Int64) -> KeyChange? {
    guard let change = find(key)?.change(at: revision), !change.isTombstone else { return nil }
    return change
  }

  /// Every change that the index still holds for `key`, oldest first, for tests and tools.
  package func changes(of key: UnsafeRawBufferPointer) -> [KeyChange] {
    guard let record = find(key) else { return [] }
    return (record.history.map { Array($0.changes) } ?? []) + [record.newest]
  }

  /// Collects the keys of `span` that exist at `revision`, for tests and tools.
  package func keys(in span: KeySpan, at revision: Int64) -> [[UInt8]] {
    var result: [[UInt8]] = []
    scan(span, at: revision) { record, _ in
      result.append([UInt8](record.key))
      return true
    }
    return result
  }
}
