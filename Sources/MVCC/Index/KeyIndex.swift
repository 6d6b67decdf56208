/// The ordered index: a B+tree from key bytes to the key's changes, with counts of live keys.
///
/// "Live" means: not deleted at the newest revision. Counting and rank cost O(log n); deleted keys
/// stay, as tombstones, until compaction removes them. Not safe for concurrent use: the store's
/// lock guards it.
package final class KeyIndex {
  /// Levels that the path stack has room for; 64-way nodes at a quarter full reach 16^16 keys.
  static let levelsMax = 16

  let slab = KeySlab()
  var root: IndexNode
  /// Keys in the tree, deleted ones included.
  package internal(set) var keyCount = 0
  /// Live keys at the newest revision.
  package internal(set) var liveCount = 0
  /// Bytes held by nodes.
  var nodeBytes = 0
  /// The record that the last `put` changed, until the next change of the index.
  var lastPut: KeyRecord?

  /// The inner nodes that the last descent went through, from the root, and which child it took.
  let pathNodes: UnsafeMutablePointer<IndexNode>
  let pathChildren: UnsafeMutablePointer<Int>
  var pathCount = 0

  package init() {
    root = IndexNode.make(level: 0)
    nodeBytes = root.bytesReserved
    pathNodes = .allocate(capacity: Self.levelsMax)
    pathChildren = .allocate(capacity: Self.levelsMax)
  }

  deinit {
    free(root)
    pathNodes.deallocate()
    pathChildren.deallocate()
  }

  /// Bytes of memory held for keys and nodes, without the histories of keys.
  package var bytesReserved: Int { slab.bytesReserved + nodeBytes }

  private func free(_ node: IndexNode) {
    if node.isLeaf {
      for position in 0..<node.count { RevisionHistory.free(node.record(position).history) }
      for position in 0..<node.count {
        let length = node.keys[position].count + KeyRecord.headerBytes
        if length > KeySlab.pooledBytesMax { node.record(position).freeOversized(in: slab) }
      }
    } else {
      for child in 0...node.count { free(node.children[child]) }
      for position in 0..<node.count { node.keys[position].freeSeparator(in: slab) }
    }
    node.free()
  }

  func makeNode(level: Int) -> IndexNode {
    let node = IndexNode.make(level: level)
    nodeBytes += node.bytesReserved
    return node
  }

  func freeNode(_ node: IndexNode) {
    nodeBytes -= node.bytesReserved
    node.free()
  }
}

// Finding.
extension KeyIndex {
  /// The leaf and the position that `key` has or would have. Touches nothing: for readers.
  @inline(__always)
  func seek(_ key: UnsafeRawBufferPointer) -> (leaf: IndexNode, position: Int, isEqual: Bool) {
    var node = root
    while !node.isLeaf { node = node.children[node.childPosition(key)] }
    let bound = node.lowerBound(key)
    return (node, bound.position, bound.isEqual)
  }

  @inline(__always)
  func find(_ key: UnsafeRawBufferPointer) -> KeyRecord? {
    let place = seek(key)
    return place.isEqual ? place.leaf.record(place.position) : nil
  }

  /// The same as `seek`, and the path is kept for the writer to follow.
  @inline(__always)
  func descend(_ key: UnsafeRawBufferPointer) -> (leaf: IndexNode, position: Int, isEqual: Bool) {
    var node = root
    pathCount = 0
    while !node.isLeaf {
      let child = node.childPosition(key)
      pathNodes[pathCount] = node
      pathChildren[pathCount] = child
      pathCount += 1
      node = node.children[child]
    }
    let bound = node.lowerBound(key)
    return (node, bound.position, bound.isEqual)
  }

  /// Live keys less than `key`.
  func liveRank(_ key: UnsafeRawBufferPointer) -> Int {
    var node = root
    var rank = 0
    while !node.isLeaf {
      let child = node.childPosition(key)
      for left in 0..<child { rank += node.liveCounts[left] }
      node = node.children[child]
    }
    let position = node.lowerBound(key).position
    return rank + (node.liveMask & Self.maskBelow(position)).nonzeroBitCount
  }

  /// Bits below `position`.
  @inline(__always)
  static func maskBelow(_ position: Int) -> UInt64 {
    position >= 64 ? ~0 : (1 << UInt64(position)) - 1
  }

  /// Live keys in `span` at the newest revision, in O(log n).
  package func liveCount(in span: KeySpan) -> Int {
    switch span.shape {
    case .single:
      return find(span.key)?.isLive == true ? 1 : 0
    case .unbounded:
      return liveCount - liveRank(span.key)
    case .bounded:
      if compareKeys(span.end, span.key) <= 0 { return 0 }
      return liveRank(span.end) - liveRank(span.key)
    }
  }
}
