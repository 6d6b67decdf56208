// Forgetting old changes, a step at a time.
extension KeyIndex {
  /// Compacts up to `keysMax` keys at main revision `revision`, starting after `cursor` (from the
  /// first key when that is nil). Returns the cursor of the next step, or nil after the last key.
  package func compactStep(
    at revision: Int64, after cursor: [UInt8]?, keysMax: Int
  ) -> [UInt8]? {
    var emptied: [KeyPointer] = []
    var last: KeyPointer?
    var visited = 0
    var leaf = root
    var position = 0
    if let cursor {
      let place = cursor.withUnsafeBytes { seek($0) }
      leaf = place.leaf
      position = place.isEqual ? place.position + 1 : place.position
    } else {
      while !leaf.isLeaf { leaf = leaf.children[0] }
    }
    walk: while true {
      while position < leaf.count {
        if visited == keysMax { break walk }
        let record = leaf.record(position)
        if record.compact(at: revision) { emptied.append(record.pointer) }
        last = record.pointer
        visited += 1
        position += 1
      }
      guard let next = leaf.next else {
        last = nil
        break
      }
      leaf = next
      position = 0
    }
    let nextCursor = last.map { [UInt8]($0.bytes) }
    for key in emptied { remove(key.bytes) }
    return nextCursor
  }
}
