/// A run of pages in memory, or the page of an inline bucket. Valid as long as its bytes.
struct BoltPage {
  /// For errors: of an inline bucket, the page that it is in.
  let id: UInt64
  let bytes: UnsafeRawBufferPointer

  /// What kinds of page a tree has.
  enum Kind {
    case branch
    case leaf
  }

  struct Branch {
    var key: UnsafeRawBufferPointer
    var child: UInt64
  }

  /// What the page calls itself.
  var number: UInt64 { bytes.integer(at: 0, as: UInt64.self) }
  var flags: UInt16 { bytes.integer(at: 8, as: UInt16.self) }
  var count: Int { Int(bytes.integer(at: 10, as: UInt16.self)) }

  /// Which kind of tree page it is; its elements lie within the page.
  func kind() throws(BoltError) -> Kind {
    guard BoltFormat.pageHeaderBytes + count * BoltFormat.elementBytes <= bytes.count else {
      throw damaged("\(count) elements do not fit in")
    }
    switch flags {
    case BoltFormat.branchFlag: return .branch
    case BoltFormat.leafFlag: return .leaf
    default: throw damaged("no page of a tree (flags \(flags))")
    }
  }

  /// Element `index` of a leaf. `end` is where the data of the element before ends, and then where its
  /// own does: data lies in the order of the elements, so none is read twice.
  func leaf(_ index: Int, after end: inout Int) throws(BoltError) -> BoltEntry {
    let start = BoltFormat.pageHeaderBytes + index * BoltFormat.elementBytes
    let flags = bytes.integer(at: start, as: UInt32.self)
    guard flags <= BoltFormat.bucketElementFlag else {
      throw damaged("element \(index) has flags \(flags)")
    }
    let position = start + Int(bytes.integer(at: start + 4, as: UInt32.self))
    let keyBytes = Int(bytes.integer(at: start + 8, as: UInt32.self))
    let valueBytes = Int(bytes.integer(at: start + 12, as: UInt32.self))
    guard position >= max(end, elementsEnd), position + keyBytes + valueBytes <= bytes.count else {
      throw damaged("element \(index) does not lie in its place in the page")
    }
    end = position + keyBytes + valueBytes
    return BoltEntry(
      key: bytes.slice(position..<position + keyBytes),
      value: bytes.slice(position + keyBytes..<end),
      isBucket: flags == BoltFormat.bucketElementFlag,
      page: id
    )
  }

  /// Element `index` of a branch; `end` as for a leaf.
  func branch(_ index: Int, after end: inout Int) throws(BoltError) -> Branch {
    let start = BoltFormat.pageHeaderBytes + index * BoltFormat.elementBytes
    let position = start + Int(bytes.integer(at: start, as: UInt32.self))
    let keyEnd = position + Int(bytes.integer(at: start + 4, as: UInt32.self))
    guard position >= max(end, elementsEnd), keyEnd <= bytes.count else {
      throw damaged("element \(index) does not lie in its place in the page")
    }
    end = keyEnd
    return Branch(
      key: bytes.slice(position..<keyEnd),
      child: bytes.integer(at: start + 8, as: UInt64.self)
    )
  }

  private var elementsEnd: Int {
    BoltFormat.pageHeaderBytes + count * BoltFormat.elementBytes
  }

  func damaged(_ reason: String) -> BoltError { .damaged(page: id, reason: reason) }
}

/// A key and its value, or a bucket in a bucket; the bytes are valid while it is visited.
package struct BoltEntry {
  package let key: UnsafeRawBufferPointer
  package let value: UnsafeRawBufferPointer
  package let isBucket: Bool
  /// Where it is, for errors.
  package let page: UInt64
}

/// Where a bucket's content is.
package struct BoltBucket {
  enum Content {
    case tree(UInt64)
    /// The page of an inline bucket, and the page that it is in.
    case inline([UInt8], page: UInt64)
  }

  let content: Content

  init(_ entry: BoltEntry) throws(BoltError) {
    guard entry.isBucket else {
      throw .damaged(page: entry.page, reason: "a value is where a bucket should be")
    }
    guard entry.value.count >= BoltFormat.bucketHeaderBytes else {
      throw .damaged(page: entry.page, reason: "a bucket's header has \(entry.value.count) bytes")
    }
    let root = entry.value.integer(at: 0, as: UInt64.self)
    guard root == 0 else {
      content = .tree(root)
      return
    }
    let pageBytes = entry.value.count - BoltFormat.bucketHeaderBytes
    guard (BoltFormat.pageHeaderBytes...BoltFormat.pageBytesRange.upperBound).contains(pageBytes)
    else {
      throw .damaged(page: entry.page, reason: "an inline bucket has \(pageBytes) bytes")
    }
    content = .inline(Array(entry.value[BoltFormat.bucketHeaderBytes...]), page: entry.page)
  }
}
