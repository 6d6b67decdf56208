// The tree's invariants, checked by tests after every change.
extension KeyIndex {
  /// Describes the first invariant found broken; nil when all hold.
  package func brokenInvariant() -> String? {
    var checker = TreeChecker()
    checker.visit(root, low: nil, high: nil)
    if let problem = checker.problem { return problem }
    if checker.keys != keyCount { return "keyCount \(keyCount), found \(checker.keys)" }
    if root.liveTotal != liveCount { return "liveCount \(liveCount), found \(root.liveTotal)" }
    if checker.previousLeaf?.next != nil { return "the last leaf has a successor" }
    return nil
  }

  /// Levels of the tree, 1 when the root is a leaf.
  package var height: Int { root.level + 1 }
}

private struct TreeChecker {
  var problem: String?
  var keys = 0
  var previousLeaf: IndexNode?

  mutating func fail(_ text: String) {
    if problem == nil { problem = text }
  }

  mutating func visit(_ node: IndexNode, low: KeyPointer?, high: KeyPointer?) {
    if node.count > IndexNode.keysMax { fail("a node holds \(node.count) keys") }
    checkKeys(node, low: low, high: high)
    if node.isLeaf {
      checkLeaf(node)
      return
    }
    for child in 0...node.count {
      let subtree = node.children[child]
      if subtree.level != node.level - 1 { fail("levels do not go down by one") }
      if subtree.liveTotal != node.liveCounts[child] {
        fail("live count \(node.liveCounts[child]) of a child with \(subtree.liveTotal)")
      }
      visit(
        subtree,
        low: child > 0 ? node.keys[child - 1] : low,
        high: child < node.count ? node.keys[child] : high
      )
    }
  }

  private mutating func checkKeys(_ node: IndexNode, low: KeyPointer?, high: KeyPointer?) {
    for position in 0..<node.count {
      let key = node.keys[position].bytes
      if position > 0 && compareKeys(node.keys[position - 1].bytes, key) >= 0 {
        fail("keys out of order")
      }
      if let low, compareKeys(key, low.bytes) < 0 { fail("a key before its separator") }
      if let high, compareKeys(key, high.bytes) >= 0 { fail("a key past its separator") }
      if node.prefixLength > key.count
        || commonPrefixLength(key, node.keys[0].bytes) < node.prefixLength
      {
        fail("a key without its node's prefix")
      }
      if node.heads[position] != IndexNode.head(key, from: node.prefixLength) {
        fail("a head that is not its key's")
      }
    }
  }

  private mutating func checkLeaf(_ leaf: IndexNode) {
    keys += leaf.count
    if leaf.previous != previousLeaf { fail("leaves wrongly linked to the left") }
    if let previousLeaf, previousLeaf.next != leaf { fail("leaves wrongly linked to the right") }
    previousLeaf = leaf
    for position in 0..<leaf.count {
      let isLive = leaf.record(position).isLive
      if isLive != (leaf.liveMask >> UInt64(position) & 1 == 1) { fail("a wrong live bit") }
    }
    if leaf.liveMask & ~KeyIndex.maskBelow(leaf.count) != 0 { fail("live bits past the end") }
  }
}
