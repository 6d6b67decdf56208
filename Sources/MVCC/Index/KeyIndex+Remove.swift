// Removing keys, which only compaction does.
extension KeyIndex {
  /// Takes a deleted key out of the tree and frees its record.
  func remove(_ key: UnsafeRawBufferPointer) {
    let place = descend(key)
    precondition(place.isEqual, "a key to remove is not in the index")
    let record = place.leaf.record(place.position)
    precondition(!record.isLive, "a key to remove is live")
    let leaf = place.leaf
    leaf.removeKey(at: place.position)
    let below = Self.maskBelow(place.position)
    leaf.liveMask = (leaf.liveMask & below) | ((leaf.liveMask >> 1) & ~below)
    record.free(in: slab)
    keyCount -= 1
    if leaf.count < IndexNode.keysMin { rebalance(from: leaf) }
  }

  /// Merges nodes that have become small, from `leaf` up along the path of the last descent.
  private func rebalance(from leaf: IndexNode) {
    var node = leaf
    var step = pathCount
    while step > 0 && node.count < IndexNode.keysMin {
      step -= 1
      let parent = pathNodes[step]
      let position = pathChildren[step]
      if position < parent.count && canMerge(node, parent.children[position + 1]) {
        merge(child: position, of: parent)
      } else if position > 0 && canMerge(parent.children[position - 1], node) {
        merge(child: position - 1, of: parent)
      } else if node.isLeaf && node.count == 0 && parent.count > 0 {
        dropEmpty(child: position, of: parent)
      } else {
        return
      }
      node = parent
    }
    while !root.isLeaf && root.count == 0 {
      let only = root.children[0]
      freeNode(root)
      root = only
    }
  }

  private func canMerge(_ left: IndexNode, _ right: IndexNode) -> Bool {
    left.count + right.count + (left.isLeaf ? 0 : 1) <= IndexNode.keysMax * 3 / 4
  }

  /// Moves everything of child `position + 1` into child `position` and frees the former.
  private func merge(child position: Int, of parent: IndexNode) {
    let left = parent.children[position]
    let right = parent.children[position + 1]
    let separator = parent.keys[position]
    if left.isLeaf {
      left.liveMask |= right.liveMask << UInt64(left.count)
      unlink(right)
      separator.freeSeparator(in: slab)
    } else {
      let start = left.count + 1
      (left.children + start).update(from: right.children, count: right.count + 1)
      (left.liveCounts + start).update(from: right.liveCounts, count: right.count + 1)
      left.keys[left.count] = separator
      left.count += 1
    }
    right.moveKeys(from: 0, to: left)
    let shared =
      left.count > 0
      ? commonPrefixLength(left.keys[0].bytes, left.keys[left.count - 1].bytes) : 0
    left.setPrefix(left.count > 1 ? shared : 0)
    parent.liveCounts[position] += parent.liveCounts[position + 1]
    removeChild(position + 1, separator: position, of: parent)
    freeNode(right)
  }

  /// Frees an empty leaf that no neighbour could take in.
  private func dropEmpty(child position: Int, of parent: IndexNode) {
    let leaf = parent.children[position]
    let separator = max(position - 1, 0)
    unlink(leaf)
    parent.keys[separator].freeSeparator(in: slab)
    removeChild(position, separator: separator, of: parent)
    freeNode(leaf)
  }

  private func unlink(_ leaf: IndexNode) {
    leaf.previous?.next = leaf.next
    leaf.next?.previous = leaf.previous
  }

  private func removeChild(_ child: Int, separator: Int, of parent: IndexNode) {
    let after = parent.count - child
    (parent.children + child).update(from: parent.children + child + 1, count: after)
    (parent.liveCounts + child).update(from: parent.liveCounts + child + 1, count: after)
    parent.removeKey(at: separator)
  }
}
