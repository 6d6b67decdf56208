import Base

/// One bucket's tree as it grows from left to right.
struct TreeBuilder: ~Copyable {
  private struct Element {
    var keyBytes: Int
    var valueBytes: Int
  }

  private struct Child {
    var key: [UInt8]
    var page: UInt64

    var bytes: Int { BoltFormat.elementBytes + key.count }
  }

  /// The pages of one level that no branch names yet.
  private struct Level {
    var children: [Child] = []
    var bytes = 0
  }

  private static let contentBytesMax = BoltWriter.pageBytes - BoltFormat.pageHeaderBytes
  /// A branch of fewer children is made only where there are no more.
  private static let childrenMin = 2

  private var elements: [Element] = []
  private var flags: UInt32 = 0
  private var data = ByteWriter(capacity: BoltWriter.pageBytes)
  private var firstKey: [UInt8] = []
  private var lastKey: [UInt8] = []
  private var isEmpty = true
  private var levels: [Level] = []

  /// Adds a pair above all before it.
  mutating func put(
    _ key: UnsafeRawBufferPointer,
    _ value: UnsafeRawBufferPointer,
    isBucket: Bool,
    _ writer: BoltWriter
  ) throws(BoltError) {
    guard !key.isEmpty, key.count <= BoltFormat.keyBytesMax else {
      throw .unwritable(reason: "bbolt takes no key of \(key.count) bytes")
    }
    guard value.count <= BoltWriter.valueBytesMax else {
      throw .unwritable(reason: "a value of \(value.count) bytes is too long")
    }
    guard isEmpty || lastKey.withUnsafeBytes({ $0.precedes(key) }) else {
      throw .unwritable(reason: "a key is not above the one before")
    }
    isEmpty = false
    let bytes = BoltFormat.elementBytes + key.count + value.count
    let filled = data.count + elements.count * BoltFormat.elementBytes
    if !elements.isEmpty, filled + bytes > Self.contentBytesMax { try flushLeaf(writer) }
    if elements.isEmpty { firstKey = Array(key) }
    flags = isBucket ? BoltFormat.bucketElementFlag : 0
    elements.append(Element(keyBytes: key.count, valueBytes: value.count))
    data.append(key)
    data.append(value)
    lastKey.removeAll(keepingCapacity: true)
    lastKey.append(contentsOf: key)
  }

  /// Writes what is left and returns the page of the tree's root.
  mutating func finish(_ writer: BoltWriter) throws(BoltError) -> UInt64 {
    if !elements.isEmpty || levels.isEmpty { try flushLeaf(writer) }
    var level = 0
    while true {
      let pending = levels[level]
      if level == levels.count - 1, pending.children.count == 1 { return pending.children[0].page }
      if pending.bytes > Self.contentBytesMax, pending.children.count >= 2 * Self.childrenMin {
        // Two halves rather than a full page and a rest.
        try flushBranch(level, count: pending.children.count / 2, writer)
      }
      try flushBranch(level, count: levels[level].children.count, writer)
      level += 1
    }
  }

  private mutating func flushLeaf(_ writer: BoltWriter) throws(BoltError) {
    let headers = elements.count * BoltFormat.elementBytes
    let id = try writer.write(
      flags: BoltFormat.leafFlag,
      count: elements.count,
      contentBytes: headers + data.count
    ) { output in
      var position = headers
      for element in elements {
        output.append(integer: flags.littleEndian)
        output.append(integer: UInt32(position).littleEndian)
        output.append(integer: UInt32(element.keyBytes).littleEndian)
        output.append(integer: UInt32(element.valueBytes).littleEndian)
        position += element.keyBytes + element.valueBytes - BoltFormat.elementBytes
      }
      output.append(data.bytes)
    }
    elements.removeAll(keepingCapacity: true)
    if data.count > BoltWriter.pageBytes { data = ByteWriter(capacity: BoltWriter.pageBytes) }
    data.removeAll()
    try add(Child(key: firstKey, page: id), to: 0, writer)
  }

  private mutating func add(
    _ child: Child,
    to level: Int,
    _ writer: BoltWriter
  ) throws(BoltError) {
    if level == levels.count { levels.append(Level()) }
    levels[level].children.append(child)
    levels[level].bytes += child.bytes
    guard levels[level].bytes > 2 * Self.contentBytesMax else { return }
    var (count, bytes) = (0, 0)
    for child in levels[level].children {
      guard count < Self.childrenMin || bytes + child.bytes <= Self.contentBytesMax else { break }
      count += 1
      bytes += child.bytes
    }
    if levels[level].children.count - count >= Self.childrenMin {
      try flushBranch(level, count: count, writer)
    }
  }

  /// Writes the first `count` children of a level as a branch.
  private mutating func flushBranch(
    _ level: Int,
    count: Int,
    _ writer: BoltWriter
  ) throws(BoltError) {
    let children = Array(levels[level].children[..<count])
    levels[level].children.removeFirst(count)
    let bytes = children.reduce(0) { $0 + $1.bytes }
    levels[level].bytes -= bytes
    let id = try writer.write(
      flags: BoltFormat.branchFlag,
      count: count,
      contentBytes: bytes
    ) { output in
      var position = count * BoltFormat.elementBytes
      for child in children {
        output.append(integer: UInt32(position).littleEndian)
        output.append(integer: UInt32(child.key.count).littleEndian)
        output.append(integer: child.page.littleEndian)
        position += child.key.count - BoltFormat.elementBytes
      }
      for child in children { child.key.withUnsafeBytes { output.append($0) } }
    }
    try add(Child(key: children[0].key, page: id), to: level + 1, writer)
  }
}
