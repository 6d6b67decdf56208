extension BoltFile {
  /// Receives an entry, in ascending order of keys.
  package typealias Visitor = (BoltEntry) throws -> Void

  /// Where a walk is.
  private struct Walk {
    /// The last key of a leaf.
    var last: [UInt8] = []
    var hasLast = false
    /// No key may be below this one, which the branch above named.
    var floor: [UInt8] = []
    /// The runs from the root to the page at hand.
    var path: [Range<UInt64>] = []
    var page: ((BoltPage) throws -> Void)?
  }

  /// Visits the buckets of the file by name. Throws `BoltError`, or what `visit` throws.
  package func forEachBucket(_ visit: (_ name: [UInt8], BoltBucket) throws -> Void) throws {
    var found: [(name: [UInt8], bucket: BoltBucket)] = []
    var walk = Walk()
    try self.walk(meta.root, level: 0, isRoot: true, &walk) { entry in
      guard found.count < Self.bucketsMax else {
        throw BoltError.damaged(page: entry.page, reason: "more than \(Self.bucketsMax) buckets")
      }
      found.append((Array(entry.key), try BoltBucket(entry)))
    }
    for (name, bucket) in found { try visit(name, bucket) }
  }

  /// More buckets than this are refused.
  package static let bucketsMax = 1000

  /// The bucket called `name`, if there is one.
  package func bucket(_ name: String) throws -> BoltBucket? {
    var found: BoltBucket?
    try forEachBucket { if $0 == Array(name.utf8) { found = $1 } }
    return found
  }

  /// Visits everything in a bucket. Throws `BoltError`, or what `visit` throws.
  package func forEach(in bucket: BoltBucket, _ visit: Visitor) throws {
    var walk = Walk()
    try self.walk(bucket, &walk, visit)
  }

  /// The same, with `seen` called for every page that is gone through.
  func forEach(
    in bucket: BoltBucket?,
    seen: @escaping (BoltPage) throws -> Void,
    _ visit: Visitor
  ) throws {
    var walk = Walk()
    walk.page = seen
    guard let bucket else {
      return try self.walk(meta.root, level: 0, isRoot: true, &walk, visit)
    }
    try self.walk(bucket, &walk, visit)
  }

  private func walk(_ bucket: BoltBucket, _ walk: inout Walk, _ visit: Visitor) throws {
    switch bucket.content {
    case .tree(let root): try self.walk(root, level: 0, isRoot: true, &walk, visit)
    case .inline(let bytes, let id):
      try bytes.withUnsafeBytes { bytes in
        let page = BoltPage(id: id, bytes: bytes)
        guard try page.kind() == .leaf else { throw page.damaged("an inline bucket is no leaf") }
        try visitLeaf(page, &walk, visit)
      }
    }
  }

  /// Goes through the tree below page `id`. The keys must ascend all the way, so no page can be gone
  /// through twice, and the levels are bounded, so it ends whatever the file says.
  private func walk(
    _ id: UInt64,
    level: Int,
    isRoot: Bool,
    _ walk: inout Walk,
    _ visit: Visitor
  ) throws {
    guard level < BoltFormat.depthMax else {
      throw BoltError.damaged(page: id, reason: "deeper than \(BoltFormat.depthMax) levels")
    }
    let page = try page(id, level: level)
    let run = id..<id + UInt64(page.bytes.count / pageBytes)
    guard !walk.path.contains(where: { $0.overlaps(run) }) else {
      throw page.damaged("the tree leads back to it")
    }
    walk.path.append(run)
    defer { walk.path.removeLast() }
    try walk.page?(page)
    switch try page.kind() {
    case .leaf:
      guard isRoot || page.count > 0 else { throw page.damaged("an empty leaf within a tree") }
      try visitLeaf(page, &walk, visit)
    case .branch:
      guard page.count > 0 else { throw page.damaged("a branch without children") }
      var end = 0
      for index in 0..<page.count {
        let branch = try page.branch(index, after: &end)
        if walk.hasLast, !walk.last.withUnsafeBytes({ $0.precedes(branch.key) }) {
          throw page.damaged("the key of element \(index) is not above those before")
        }
        walk.floor.removeAll(keepingCapacity: true)
        walk.floor.append(contentsOf: branch.key)
        try self.walk(branch.child, level: level + 1, isRoot: false, &walk, visit)
      }
    }
  }

  private func visitLeaf(_ page: BoltPage, _ walk: inout Walk, _ visit: Visitor) throws {
    var end = 0
    for index in 0..<page.count {
      let entry = try page.leaf(index, after: &end)
      if walk.hasLast, !walk.last.withUnsafeBytes({ $0.precedes(entry.key) }) {
        throw page.damaged("the key of element \(index) is not above the one before")
      }
      if index == 0, walk.floor.withUnsafeBytes({ entry.key.precedes($0) }) {
        throw page.damaged("its first key is below what the branch says")
      }
      walk.hasLast = true
      walk.last.removeAll(keepingCapacity: true)
      walk.last.append(contentsOf: entry.key)
      try visit(entry)
    }
  }
}
