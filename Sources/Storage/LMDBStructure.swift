import Glibc

/// Walks every page that an LMDB file's newest header leads to, and trusts none of them: LMDB
/// itself follows whatever a page says. No page may be used twice, or be used and free. For files
/// from elsewhere, and those that look cut off.
struct LMDBStructure {
  // Page: number (8 bytes), padding (2), flags (2), then the end of the node directory (2) and the
  // start of the nodes (2), or how many pages an overflow run has (4). The directory of 2-byte
  // offsets follows. Node: low and high half (2 + 2) of the data's length or of the child's page
  // number, flags (2; in a branch the page number's third part), key length (2), key, data.
  private static let pageHeaderBytes = 16
  private static let nodeHeaderBytes = 8
  private static let branchFlag: UInt16 = 1
  private static let leafFlag: UInt16 = 2
  private static let overflowFlag: UInt16 = 4
  private static let bigDataFlag: UInt16 = 1
  private static let strangeFlags: UInt16 = 0x60
  private static let databasesOffset = 40
  private static let lastPageOffset = 136
  private static let databaseBytes = 48
  private static let transactionOffset = 144
  /// After how many pages they are given back, so that checking a large file takes little memory.
  private static let residentPagesMax = 4096

  private let path: String
  private let file: UnsafeRawBufferPointer
  private let pageBytes: Int
  private var lastKey: UnsafeRawBufferPointer?
  private var taken: [Bool]
  /// Pages read since the system got back those that reading mapped.
  private var residentPages = 0
  private var branches: UInt64 = 0
  private var leaves: UInt64 = 0
  private var overflows: UInt64 = 0
  private var entries: UInt64 = 0
  private var lastPage: UInt64 = 0

  /// Throws `corrupt` when a page that is in use lies outside of the file or makes no sense.
  static func check(path: String) throws(StorageError) {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw StorageError(errno: errno, during: "opening \(path)") }
    defer { close(descriptor) }
    let size = FileOperation.size(of: path)
    let map = mmap(nil, size, PROT_READ, MAP_SHARED, descriptor, 0)
    guard let map, map != MAP_FAILED else {
      throw StorageError(errno: errno, during: "mapping \(path)")
    }
    defer { munmap(map, size) }
    var structure = LMDBStructure(
      path: path,
      file: UnsafeRawBufferPointer(start: map, count: size)
    )
    try structure.walk()
  }

  private init(path: String, file: UnsafeRawBufferPointer) {
    self.path = path
    self.file = file
    // `LMDBHeader.check` found both headers sound.
    pageBytes = Int(file.loadUnaligned(fromByteOffset: Self.databasesOffset, as: UInt32.self))
    taken = Array(repeating: false, count: file.count / pageBytes)
  }

  private mutating func walk() throws(StorageError) {
    let first = file.loadUnaligned(fromByteOffset: Self.transactionOffset, as: UInt64.self)
    let second = file.loadUnaligned(
      fromByteOffset: pageBytes + Self.transactionOffset,
      as: UInt64.self
    )
    let meta = first > second ? 0 : pageBytes
    lastPage = file.loadUnaligned(fromByteOffset: meta + Self.lastPageOffset, as: UInt64.self)
    for database in 0..<2 {
      let offset = meta + Self.databasesOffset + database * Self.databaseBytes
      let flags = file.loadUnaligned(fromByteOffset: offset + 4, as: UInt16.self)
      let depth = file.loadUnaligned(fromByteOffset: offset + 6, as: UInt16.self)
      let root = file.loadUnaligned(fromByteOffset: offset + 40, as: UInt64.self)
      let isMain = database == 1
      // The list of free pages has integer keys; its flags carry those of the environment too.
      let flagsAreRight = isMain ? flags == 0 : flags & 0xc == 8
      guard flagsAreRight, (root == .max) == (depth == 0) else {
        throw .corrupt(path: path, reason: "its header makes no sense")
      }
      (lastKey, branches, leaves, overflows, entries) = (nil, 0, 0, 0, 0)
      if root != .max { try visit(root, levels: Int(depth), isMain: isMain) }
      let counts = [branches, leaves, overflows, entries]
      for (index, count) in counts.enumerated() {
        let told = file.loadUnaligned(fromByteOffset: offset + 8 + index * 8, as: UInt64.self)
        guard told == count else {
          throw .corrupt(path: path, reason: "its header tells of \(told), not \(count) pages")
        }
      }
    }
  }

  private func damaged(_ number: UInt64, _ reason: String) -> StorageError {
    .corrupt(path: path, reason: "page \(number): \(reason)")
  }

  private mutating func take(_ number: UInt64) throws(StorageError) {
    guard number >= 2, number <= lastPage else { throw damaged(number, "out of range") }
    guard number < UInt64(taken.count) else { return }
    guard !taken[Int(number)] else { throw damaged(number, "used twice") }
    taken[Int(number)] = true
  }

  private mutating func takePage(_ number: UInt64) throws(StorageError) -> UnsafeRawBufferPointer {
    try take(number)
    guard number < UInt64(taken.count) else {
      throw damaged(number, "beyond the file's \(file.count) bytes")
    }
    residentPages += 1
    if residentPages == Self.residentPagesMax {
      residentPages = 0
      // What is still looked at comes back from the file.
      madvise(UnsafeMutableRawPointer(mutating: file.baseAddress), file.count, MADV_DONTNEED)
    }
    let start = Int(number) * pageBytes
    let page = UnsafeRawBufferPointer(rebasing: file[start..<start + pageBytes])
    guard page.loadUnaligned(as: UInt64.self) == number else {
      throw damaged(number, "its number is another one")
    }
    return page
  }

  private mutating func visit(
    _ number: UInt64,
    levels: Int,
    isMain: Bool
  ) throws(StorageError) {
    let page = try takePage(number)
    let flags = page.loadUnaligned(fromByteOffset: 10, as: UInt16.self)
    let lower = Int(page.loadUnaligned(fromByteOffset: 12, as: UInt16.self))
    let upper = Int(page.loadUnaligned(fromByteOffset: 14, as: UInt16.self))
    let isBranch = levels > 1
    guard (flags & Self.branchFlag != 0) == isBranch, (flags & Self.leafFlag != 0) != isBranch,
      flags & Self.strangeFlags == 0, lower > Self.pageHeaderBytes + (isBranch ? 2 : 0),
      lower & 1 == 0, lower <= upper, upper <= pageBytes
    else { throw damaged(number, "its header makes no sense") }
    if isBranch { branches += 1 } else { leaves += 1 }
    for index in 0..<(lower - Self.pageHeaderBytes) / 2 {
      let offset = Int(
        page.loadUnaligned(fromByteOffset: Self.pageHeaderBytes + index * 2, as: UInt16.self)
      )
      guard offset >= upper, offset + Self.nodeHeaderBytes <= pageBytes else {
        throw damaged(number, "a node lies outside of it")
      }
      let node = UnsafeRawBufferPointer(rebasing: page[offset...])
      if isBranch {
        try visit(try child(of: node, on: number), levels: levels - 1, isMain: isMain)
      } else {
        try visitRecord(node, on: number, isMain: isMain)
      }
    }
  }

  private func child(
    of node: UnsafeRawBufferPointer,
    on number: UInt64
  ) throws(StorageError) -> UInt64 {
    let keyBytes = Int(node.loadUnaligned(fromByteOffset: 6, as: UInt16.self))
    guard Self.nodeHeaderBytes + keyBytes <= node.count else {
      throw damaged(number, "a key leaves it")
    }
    return UInt64(node.loadUnaligned(as: UInt32.self))
      | UInt64(node.loadUnaligned(fromByteOffset: 4, as: UInt16.self)) << 32
  }

  private mutating func visitRecord(
    _ node: UnsafeRawBufferPointer,
    on number: UInt64,
    isMain: Bool
  ) throws(StorageError) {
    let dataBytes = Int(node.loadUnaligned(as: UInt32.self))
    let flags = node.loadUnaligned(fromByteOffset: 4, as: UInt16.self)
    let keyBytes = Int(node.loadUnaligned(fromByteOffset: 6, as: UInt16.self))
    entries += 1
    let isBig = flags & Self.bigDataFlag != 0
    let keyEnd = Self.nodeHeaderBytes + keyBytes
    guard keyEnd + (isBig ? 8 : dataBytes) <= node.count, keyBytes > 0,
      flags & ~Self.bigDataFlag == 0
    else { throw damaged(number, "a record leaves it") }
    var data = UnsafeRawBufferPointer(rebasing: node[keyEnd...])
    if isBig { data = try takeRun(data.loadUnaligned(as: UInt64.self), dataBytes) }
    guard isMain else { return try takeFree(data.prefix(dataBytes), on: number) }
    let key = UnsafeRawBufferPointer(rebasing: node[Self.nodeHeaderBytes..<keyEnd])
    if let lastKey, !lastKey.lexicographicallyPrecedes(key) {
      throw damaged(number, "its keys are out of order")
    }
    lastKey = key
  }

  /// The data of a record that has pages of its own.
  private mutating func takeRun(
    _ number: UInt64,
    _ dataBytes: Int
  ) throws(StorageError) -> UnsafeRawBufferPointer {
    let page = try takePage(number)
    let pages = UInt64(page.loadUnaligned(fromByteOffset: 12, as: UInt32.self))
    guard page.loadUnaligned(fromByteOffset: 10, as: UInt16.self) & Self.overflowFlag != 0,
      pages > 0, number + pages <= UInt64(taken.count),
      Self.pageHeaderBytes + dataBytes <= Int(pages) * pageBytes
    else { throw damaged(number, "a long record is cut off") }
    overflows += pages
    for more in 1..<max(pages, 1) { try take(number + more) }
    let start = Int(number) * pageBytes + Self.pageHeaderBytes
    return UnsafeRawBufferPointer(rebasing: file[start..<start + dataBytes])
  }

  /// A record of the list of free pages: their count, then their numbers.
  private mutating func takeFree(
    _ data: Slice<UnsafeRawBufferPointer>,
    on number: UInt64
  ) throws(StorageError) {
    let list = UnsafeRawBufferPointer(rebasing: data)
    guard list.count >= 8, list.count % 8 == 0,
      list.loadUnaligned(as: UInt64.self) <= UInt64(list.count / 8 - 1)
    else { throw damaged(number, "its list of free pages is cut off") }
    let count = Int(list.loadUnaligned(as: UInt64.self))
    var last = UInt64.max
    for index in 0..<count {
      let free = list.loadUnaligned(fromByteOffset: 8 + index * 8, as: UInt64.self)
      guard free < last else { throw damaged(number, "its list of free pages is out of order") }
      last = free
      try take(free)
    }
  }
}
