import Base
import Glibc

/// Makes a bbolt file from sorted input, in one pass: pages are written as they fill up, so memory
/// holds one leaf and at most two branches for each level.
///
/// Buckets by name, and within each `put` by key, ascending; then `finish`. Whoever gives up removes
/// the file. After an error the object is of no use.
package final class BoltWriter {
  /// The size of the file's pages in bytes, whatever the machine's are: etcd reads it from the file.
  package static let pageBytes = 4096
  /// How much is gathered before it is written.
  private static let outputBytesMax = 1 << 20
  /// The longest value: a leaf's lengths have 32 bits, and its run must be readable.
  package static let valueBytesMax = BoltFormat.runBytesMax - (1 << 20)

  private let path: String
  private let descriptor: Int32
  private var output = ByteWriter(capacity: outputBytesMax + 64 * 1024)
  /// Where the first byte of `output` belongs.
  private var outputStart = UInt64(2 * pageBytes)
  private var nextPage: UInt64 = 2
  private var tree = TreeBuilder()
  private var root = TreeBuilder()
  private var bucketName: [UInt8]?

  /// Makes the file at `path`, where nothing may be yet.
  package init(path: String) throws(BoltError) {
    self.path = path
    descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw .failed(operation: "making \(path)", code: errno) }
  }

  deinit {
    close(descriptor)
  }

  /// Begins a bucket; its name must be above those before.
  package func beginBucket(_ name: String) throws(BoltError) {
    precondition(bucketName == nil, "a bucket in a bucket")
    bucketName = Array(name.utf8)
    tree = TreeBuilder()
  }

  /// Adds a pair to the bucket that was begun; its key must be above those before.
  package func put(
    _ key: UnsafeRawBufferPointer,
    _ value: UnsafeRawBufferPointer
  ) throws(BoltError) {
    precondition(bucketName != nil, "a pair outside of a bucket")
    try tree.put(key, value, isBucket: false, self)
  }

  package func put(_ key: [UInt8], _ value: [UInt8]) throws(BoltError) {
    let result = key.withUnsafeBytes { key in
      value.withUnsafeBytes { value in
        Result { () throws(BoltError) in try put(key, value) }
      }
    }
    try result.get()
  }

  package func endBucket() throws(BoltError) {
    guard let name = bucketName else { preconditionFailure("no bucket was begun") }
    bucketName = nil
    var header = ByteWriter(capacity: BoltFormat.bucketHeaderBytes)
    header.append(integer: try tree.finish(self).littleEndian)
    header.append(integer: UInt64(0))
    let result = name.withUnsafeBytes { name in
      Result { () throws(BoltError) in
        try root.put(name, header.bytes, isBucket: true, self)
      }
    }
    try result.get()
  }

  /// Writes what is left, and syncs the file. Returns its length in bytes.
  package func finish() throws(BoltError) -> Int {
    precondition(bucketName == nil, "a bucket was not ended")
    let rootPage = try root.finish(self)
    let freelist = try write(flags: BoltFormat.freelistFlag, count: 0, contentBytes: 0) { _ in }
    try flush()
    for transaction in 0..<UInt64(2) {
      let meta = BoltMeta(
        pageBytes: Self.pageBytes,
        root: rootPage,
        freelist: freelist,
        pageCount: nextPage,
        transaction: transaction
      )
      let offset = transaction * UInt64(Self.pageBytes)
      let result = meta.encoded().withUnsafeBytes { bytes in
        Result { () throws(BoltError) in try write(bytes, at: offset) }
      }
      try result.get()
    }
    guard fsync(descriptor) == 0 else { throw .failed(operation: "syncing \(path)", code: errno) }
    return Int(nextPage) * Self.pageBytes
  }

  /// Appends a page whose elements and data `body` writes, `contentBytes` altogether. Returns its
  /// number.
  func write(
    flags: UInt16,
    count: Int,
    contentBytes: Int,
    _ body: (inout ByteWriter) -> Void
  ) throws(BoltError) -> UInt64 {
    let bytes = BoltFormat.pageHeaderBytes + contentBytes
    let pages = (bytes + Self.pageBytes - 1) / Self.pageBytes
    let id = nextPage
    output.append(integer: id.littleEndian)
    output.append(integer: flags.littleEndian)
    output.append(integer: UInt16(count).littleEndian)
    output.append(integer: UInt32(pages - 1).littleEndian)
    let before = output.count
    body(&output)
    precondition(output.count - before == contentBytes, "a page of another length than announced")
    let padding = pages * Self.pageBytes - bytes
    let start = output.reserve(padding)
    memset(start, 0, padding)
    output.advance(by: padding)
    nextPage += UInt64(pages)
    if output.count >= Self.outputBytesMax { try flush() }
    return id
  }

  private func flush() throws(BoltError) {
    try write(output.bytes, at: outputStart)
    outputStart += UInt64(output.count)
    if output.count > 2 * Self.outputBytesMax {
      output = ByteWriter(capacity: Self.outputBytesMax + 64 * 1024)
    } else {
      output.removeAll()
    }
  }

  private func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(BoltError) {
    var done = 0
    while done < bytes.count {
      let rest = bytes.baseAddress.map { $0 + done }
      let count = pwrite(descriptor, rest, bytes.count - done, off_t(offset) + off_t(done))
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw .failed(operation: "writing \(path)", code: errno) }
      done += count
    }
  }
}
