// Changes: the writer's side.
extension KeyIndex {
  /// Notes that `key` was put. Returns the life that the key is in after it: where it began and its
  /// version, and whether the key was on a lease before.
  package func put(
    _ key: UnsafeRawBufferPointer,
    main: Int64,
    sub: UInt32,
    hasLease: Bool
  ) -> (createMain: Int64, version: Int64, hadLease: Bool) {
    let place = descend(key)
    let change = KeyChange(main: main, sub: sub, isTombstone: false)
    guard place.isEqual else {
      let record = insert(key)
      record.append(change, createMain: main, version: 1)
      record.hasLease = hasLease
      lastPut = record
      return (main, 1, false)
    }
    let record = place.leaf.record(place.position)
    lastPut = record
    let hadLease = record.hasLease
    if record.isLive {
      record.append(change, createMain: record.createMain, version: record.version + 1)
    } else {
      record.append(change, createMain: main, version: 1)
      setLive(true, leaf: place.leaf, position: place.position)
    }
    record.hasLease = hasLease
    return (record.createMain, record.version, hadLease)
  }

  /// Notes how long the encoded pair of the put just noted is, in bytes. What knows the lengths of
  /// pairs can tell the length of a response without looking at them.
  package func noteLastPut(pairBytes: Int) {
    lastPut?.pairBytes = UInt32(pairBytes)
  }

  /// Notes that `key`, which must be live, was deleted. Returns whether it was on a lease.
  package func delete(_ key: UnsafeRawBufferPointer, main: Int64, sub: UInt32) -> Bool {
    let place = descend(key)
    precondition(place.isEqual, "a key to delete is not in the index")
    let record = place.leaf.record(place.position)
    precondition(record.isLive, "a key to delete is deleted already")
    let hadLease = record.hasLease
    record.append(
      KeyChange(main: main, sub: sub, isTombstone: true),
      createMain: 0,
      version: 0
    )
    record.hasLease = false
    setLive(false, leaf: place.leaf, position: place.position)
    return hadLease
  }

  /// Notes a change read back from storage. Changes must come in ascending order of revision.
  /// Returns whether the key was on a lease before.
  @discardableResult
  package func restore(
    _ key: UnsafeRawBufferPointer,
    _ change: KeyChange,
    createMain: Int64,
    version: Int64,
    pairBytes: Int,
    hasLease: Bool
  ) -> Bool {
    let place = descend(key)
    if place.isEqual {
      let record = place.leaf.record(place.position)
      let wasLive = record.isLive
      let hadLease = record.hasLease
      record.append(change, createMain: createMain, version: version)
      record.pairBytes = change.isTombstone ? 0 : UInt32(pairBytes)
      record.hasLease = hasLease
      if wasLive != record.isLive {
        setLive(record.isLive, leaf: place.leaf, position: place.position)
      }
      return hadLease
    }
    let record = insert(key)
    record.append(change, createMain: createMain, version: version)
    record.pairBytes = change.isTombstone ? 0 : UInt32(pairBytes)
    record.hasLease = hasLease
    if change.isTombstone {
      let again = descend(key)
      setLive(false, leaf: again.leaf, position: again.position)
    }
    return false
  }

  /// Flips a key's bit and adjusts the counts along the path of the last descent.
  private func setLive(_ isLive: Bool, leaf: IndexNode, position: Int) {
    let bit = UInt64(1) << UInt64(position)
    leaf.liveMask = isLive ? leaf.liveMask | bit : leaf.liveMask & ~bit
    let delta = isLive ? 1 : -1
    liveCount += delta
    for step in 0..<pathCount { pathNodes[step].liveCounts[pathChildren[step]] += delta }
  }

  /// Adds `key`, counted as live, with an empty record. It must not be there.
  /// Full nodes on the way down are split first, so a parent always has room.
  private func insert(_ key: UnsafeRawBufferPointer) -> KeyRecord {
    if root.count == IndexNode.keysMax {
      let top = makeNode(level: root.level + 1)
      precondition(top.level < Self.levelsMax)
      top.children[0] = root
      top.liveCounts[0] = liveCount
      root = top
      split(child: 0, of: top, isRightmost: true)
    }
    var node = root
    var isRightmost = true
    while !node.isLeaf {
      var child = node.childPosition(key)
      if node.children[child].count == IndexNode.keysMax {
        split(child: child, of: node, isRightmost: isRightmost && child == node.count)
        child = node.childPosition(key)
      }
      isRightmost = isRightmost && child == node.count
      node.liveCounts[child] += 1
      node = node.children[child]
    }
    let record = KeyRecord.make(key, in: slab)
    let position = node.lowerBound(key).position
    node.insertKey(record.pointer, at: position)
    let below = Self.maskBelow(position)
    node.liveMask =
      (node.liveMask & below) | ((node.liveMask & ~below) << 1) | (1 << UInt64(position))
    keyCount += 1
    liveCount += 1
    return record
  }

  /// Splits the full child `position` of `parent`, which has room. At the tree's right edge nearly
  /// all stays to the left, so that keys that come in order leave full nodes behind.
  private func split(child position: Int, of parent: IndexNode, isRightmost: Bool) {
    let left = parent.children[position]
    let right = makeNode(level: left.level)
    let total = parent.liveCounts[position]
    let separator: KeyPointer
    if left.isLeaf {
      let cut = isRightmost ? left.count - 1 : left.count / 2
      right.prefixLength = left.prefixLength
      left.moveKeys(from: cut, to: right)
      right.liveMask = left.liveMask >> UInt64(cut)
      left.liveMask &= Self.maskBelow(cut)
      right.next = left.next
      right.previous = left
      left.next?.previous = right
      left.next = right
      let shared = commonPrefixLength(left.keys[cut - 1].bytes, right.keys[0].bytes)
      separator = .makeSeparator(
        UnsafeRawBufferPointer(rebasing: right.keys[0].bytes[0...shared]),
        in: slab
      )
    } else {
      let cut = isRightmost ? left.count - 2 : left.count / 2
      separator = left.keys[cut]
      let moved = left.count - cut
      right.children.update(from: left.children + cut + 1, count: moved)
      right.liveCounts.update(from: left.liveCounts + cut + 1, count: moved)
      right.prefixLength = left.prefixLength
      left.moveKeys(from: cut + 1, to: right)
      left.count = cut
    }
    left.refreshPrefix()
    right.refreshPrefix()
    let tail = parent.count - position
    (parent.children + position + 2).update(from: parent.children + position + 1, count: tail)
    (parent.liveCounts + position + 2).update(from: parent.liveCounts + position + 1, count: tail)
    parent.insertKey(separator, at: position)
    parent.children[position + 1] = right
    parent.liveCounts[position + 1] = right.liveTotal
    parent.liveCounts[position] = total - parent.liveCounts[position + 1]
  }
}
