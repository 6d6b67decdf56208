/// What a meta page says.
struct BoltMeta {
  var pageBytes: Int
  /// Where the root bucket's tree begins.
  var root: UInt64
  /// Where the freelist is, or `BoltFormat.noFreelist`.
  var freelist: UInt64
  /// The number of the first page that the file does not use.
  var pageCount: UInt64
  var transaction: UInt64

  /// Why the bytes of a page are no sound meta page.
  enum Flaw: Error {
    case magic
    case version(UInt32)
    case checksum
    case pageBytes(UInt32)
    case flags
  }

  /// Reads a page's first `BoltFormat.pageHeaderBytes + BoltFormat.metaBytes` bytes.
  init(_ page: UnsafeRawBufferPointer) throws(Flaw) {
    let meta = page.slice(
      BoltFormat.pageHeaderBytes..<BoltFormat.pageHeaderBytes + BoltFormat.metaBytes
    )
    guard meta.integer(at: 0, as: UInt32.self) == BoltFormat.magic else { throw .magic }
    let version = meta.integer(at: 4, as: UInt32.self)
    guard version == BoltFormat.version else { throw .version(version) }
    let sum = BoltFormat.checksum(meta.slice(0..<BoltFormat.metaChecksumOffset))
    guard meta.integer(at: BoltFormat.metaChecksumOffset, as: UInt64.self) == sum else {
      throw .checksum
    }
    let size = meta.integer(at: 8, as: UInt32.self)
    guard BoltFormat.pageBytesRange.contains(Int(size)), size.nonzeroBitCount == 1 else {
      throw .pageBytes(size)
    }
    guard page.integer(at: 8, as: UInt16.self) == BoltFormat.metaFlag else { throw .flags }
    pageBytes = Int(size)
    root = meta.integer(at: 16, as: UInt64.self)
    freelist = meta.integer(at: 32, as: UInt64.self)
    pageCount = meta.integer(at: 40, as: UInt64.self)
    transaction = meta.integer(at: 48, as: UInt64.self)
  }

  init(pageBytes: Int, root: UInt64, freelist: UInt64, pageCount: UInt64, transaction: UInt64) {
    self.pageBytes = pageBytes
    self.root = root
    self.freelist = freelist
    self.pageCount = pageCount
    self.transaction = transaction
  }

  /// The page, header included, of `pageBytes` bytes.
  func encoded() -> [UInt8] {
    var page = [UInt8](repeating: 0, count: pageBytes)
    page.withUnsafeMutableBytes { page in
      page.storeBytes(of: (transaction % 2).littleEndian, as: UInt64.self)
      page.storeBytes(of: BoltFormat.metaFlag.littleEndian, toByteOffset: 8, as: UInt16.self)
      let meta = UnsafeMutableRawBufferPointer(rebasing: page[BoltFormat.pageHeaderBytes...])
      meta.storeBytes(of: BoltFormat.magic.littleEndian, as: UInt32.self)
      meta.storeBytes(of: BoltFormat.version.littleEndian, toByteOffset: 4, as: UInt32.self)
      meta.storeBytes(of: UInt32(pageBytes).littleEndian, toByteOffset: 8, as: UInt32.self)
      meta.storeBytes(of: root.littleEndian, toByteOffset: 16, as: UInt64.self)
      meta.storeBytes(of: freelist.littleEndian, toByteOffset: 32, as: UInt64.self)
      meta.storeBytes(of: pageCount.littleEndian, toByteOffset: 40, as: UInt64.self)
      meta.storeBytes(of: transaction.littleEndian, toByteOffset: 48, as: UInt64.self)
      let end = BoltFormat.metaChecksumOffset
      let sum = BoltFormat.checksum(UnsafeRawBufferPointer(rebasing: meta[..<end]))
      meta.storeBytes(of: sum.littleEndian, toByteOffset: end, as: UInt64.self)
    }
    return page
  }
}
