extension BoltFile {
  /// How deep buckets may lie in buckets.
  private static let nestingMax = 8

  /// Goes through every page that is in use: all trees, buckets in buckets included, and the freelist.
  /// No page may be in use twice, or be in use and free. Throws `BoltError.damaged`.
  ///
  /// Pages that nothing leads to and that are not free are passed over: nothing is lost by them.
  package func check() throws {
    let used = PageSet(count: Int(meta.pageCount))
    try check(bucket: nil, depth: 0, used)
    guard meta.freelist != BoltFormat.noFreelist else { return }
    let page = try page(meta.freelist, level: 0)
    try used.insert(page, runPages: page.bytes.count / pageBytes)
    try checkFreelist(page, used)
  }

  private func check(bucket: BoltBucket?, depth: Int, _ used: PageSet) throws {
    guard depth <= Self.nestingMax else {
      throw BoltError.damaged(page: nil, reason: "buckets lie more than \(Self.nestingMax) deep")
    }
    var inner: [BoltBucket] = []
    let pageBytes = pageBytes
    let note = { (page: BoltPage) in
      try used.insert(page, runPages: page.bytes.count / pageBytes)
    }
    try forEach(in: bucket, seen: note) { entry in
      guard entry.isBucket else {
        if bucket == nil {
          throw BoltError.damaged(page: entry.page, reason: "a value outside of any bucket")
        }
        return
      }
      guard inner.count < Self.bucketsMax else {
        throw BoltError.damaged(page: entry.page, reason: "more than \(Self.bucketsMax) buckets")
      }
      inner.append(try BoltBucket(entry))
    }
    for bucket in inner { try check(bucket: bucket, depth: depth + 1, used) }
  }

  private func checkFreelist(_ page: BoltPage, _ used: PageSet) throws {
    guard page.flags == BoltFormat.freelistFlag else {
      throw page.damaged("not the freelist that the meta page says (flags \(page.flags))")
    }
    var start = BoltFormat.pageHeaderBytes
    var count = UInt64(page.count)
    if page.count == BoltFormat.longCount, start + 8 <= page.bytes.count {
      count = page.bytes.integer(at: start, as: UInt64.self)
      start += BoltFormat.pageNumberBytes
    }
    guard count <= UInt64((page.bytes.count - start) / BoltFormat.pageNumberBytes) else {
      throw page.damaged("a freelist of \(count) pages does not fit in")
    }
    for index in 0..<Int(count) {
      let id = page.bytes.integer(
        at: start + index * BoltFormat.pageNumberBytes,
        as: UInt64.self
      )
      guard id >= 2, id < meta.pageCount else {
        throw page.damaged("it frees page \(id), which is no page of content")
      }
      guard used.insert(id) else { throw page.damaged("it frees page \(id), which is in use") }
    }
  }
}

/// The pages that were met, a bit each.
private final class PageSet {
  private var words: [UInt64]

  init(count: Int) {
    words = Array(repeating: 0, count: count / 64 + 1)
  }

  /// False when it is there already.
  func insert(_ id: UInt64) -> Bool {
    let (word, bit) = (Int(id / 64), UInt64(1) << (id % 64))
    guard words[word] & bit == 0 else { return false }
    words[word] |= bit
    return true
  }

  func insert(_ page: BoltPage, runPages: Int) throws(BoltError) {
    for offset in 0..<UInt64(runPages) where !insert(page.id + offset) {
      throw page.damaged("page \(page.id + offset) is used twice")
    }
  }
}
