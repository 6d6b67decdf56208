package import Base

/// Where a compaction of the index goes on.
package struct CompactionCursor: Sendable {
  fileprivate var key: [UInt8]
  /// Whether the key itself is not done yet.
  fileprivate var isInclusive: Bool
}

// Forgetting old changes, a step at a time.
extension KeyIndex {
  /// Compacts at main revision `revision`, starting at `cursor` (at the first key when that is
  /// nil), until it has looked at and dropped about `workMax` keys and changes together. Adds the
  /// dropped changes to `dropped`. Returns the cursor of the next step, or nil after the last key.
  package func compactStep(
    at revision: Int64,
    from cursor: CompactionCursor?,
    workMax: Int,
    into dropped: inout [ChangeRevision]
  ) -> CompactionCursor? {
    var emptied: [KeyPointer] = []
    var work = 0
    var next: CompactionCursor?
    var (leaf, position) = place(of: cursor)
    walk: while true {
      while position < leaf.count {
        let record = leaf.record(position)
        let before = dropped.count
        let outcome = record.compact(at: revision, countMax: workMax, into: &dropped)
        work += 1 + dropped.count - before
        if outcome == .emptied { emptied.append(record.pointer) }
        if outcome == .unfinished || work >= workMax {
          next = CompactionCursor(
            key: [UInt8](record.key),
            isInclusive: outcome == .unfinished
          )
          break walk
        }
        position += 1
      }
      guard let right = leaf.next else { break }
      leaf = right
      position = 0
    }
    for key in emptied { remove(key.bytes) }
    return next
  }

  private func place(of cursor: CompactionCursor?) -> (leaf: IndexNode, position: Int) {
    guard let cursor else {
      var leaf = root
      while !leaf.isLeaf { leaf = leaf.children[0] }
      return (leaf, 0)
    }
    let place = cursor.key.withUnsafeBytes { seek($0) }
    return (
      place.leaf, place.isEqual && !cursor.isInclusive ? place.position + 1 : place.position
    )
  }
}
