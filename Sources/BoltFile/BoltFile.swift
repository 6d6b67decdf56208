import Glibc

/// A database file of bbolt, which etcd keeps its store in, opened for reading.
///
/// Nothing that the file says is trusted: whatever does not fit is thrown as `BoltError.damaged`, with
/// the page. A walk holds one run of pages for each level of the tree in memory, and no more. One
/// thread at a time. What is written to the file meanwhile may look like damage.
package final class BoltFile {
  /// The size of a page in bytes.
  package var pageBytes: Int { meta.pageBytes }
  /// How much of the file is in use, in bytes.
  package var usedBytes: Int { Int(meta.pageCount) * meta.pageBytes }
  /// How many page bytes walks have read so far: for showing progress.
  package private(set) var bytesRead = 0

  let meta: BoltMeta
  private let descriptor: Int32
  private var buffers: [PageBuffer] = []

  /// Opens the file at `path`, of which the database has `sizeBytes` bytes; all when it is nil.
  ///
  /// Throws `notBolt`, `damaged` when the file is cut short, or `failed`.
  package init(path: String, sizeBytes: Int? = nil) throws(BoltError) {
    descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .failed(operation: "opening \(path)", code: errno) }
    do throws(BoltError) {
      let length = Int(lseek(descriptor, 0, SEEK_END))
      guard length >= 0 else { throw .failed(operation: "reading \(path)", code: errno) }
      let size = min(sizeBytes ?? length, length)
      meta = try Self.readMeta(descriptor, size: size)
      guard meta.pageCount <= UInt64(size / meta.pageBytes) else {
        let wanted = meta.pageCount.multipliedReportingOverflow(by: UInt64(meta.pageBytes))
        throw .damaged(
          page: nil,
          reason: "the file was cut short: it has \(size) bytes of "
            + (wanted.overflow ? "more than there can be" : "\(wanted.partialValue)")
        )
      }
    } catch {
      close(descriptor)
      throw error
    }
  }

  deinit {
    close(descriptor)
  }

  // MARK: Meta pages

  private static func readMeta(_ descriptor: Int32, size: Int) throws(BoltError) -> BoltMeta {
    guard size > 0 else { throw .notBolt(reason: "the file is empty") }
    let first = try meta(descriptor, at: 0, size: size)
    var second: Result<BoltMeta, BoltMeta.Flaw> = .failure(.magic)
    if case .success(let meta) = first {
      second = try Self.meta(descriptor, at: meta.pageBytes, size: size)
    } else {
      // The page size is in the page that cannot be read.
      var pageBytes = BoltFormat.pageBytesRange.lowerBound
      while pageBytes <= BoltFormat.pageBytesRange.upperBound {
        let found = try Self.meta(descriptor, at: pageBytes, size: size)
        if case .success(let meta) = found, meta.pageBytes == pageBytes {
          second = found
          break
        }
        pageBytes *= 2
      }
    }
    switch (first, second) {
    case (.success(let first), .success(let second)):
      guard first.pageBytes == second.pageBytes else {
        throw .damaged(page: 1, reason: "the meta pages name two page sizes")
      }
      return second.transaction > first.transaction ? second : first
    case (.success(let meta), _), (_, .success(let meta)): return meta
    case (.failure(let flaw), _): throw error(of: flaw, size: size)
    }
  }

  private static func error(of flaw: BoltMeta.Flaw, size: Int) -> BoltError {
    switch flaw {
    case .magic:
      .notBolt(reason: "not a database file of etcd (bbolt): neither meta page has its mark")
    case .version(let version):
      .notBolt(reason: "a bbolt file of version \(version); known is \(BoltFormat.version)")
    case .checksum:
      .damaged(page: 0, reason: "the checksum of neither meta page holds")
    case .pageBytes(let bytes):
      .damaged(page: 0, reason: "the meta page names pages of \(bytes) bytes")
    case .flags:
      .damaged(page: 0, reason: "neither meta page says that it is one")
    }
  }

  private static func meta(
    _ descriptor: Int32,
    at offset: Int,
    size: Int
  ) throws(BoltError) -> Result<BoltMeta, BoltMeta.Flaw> {
    let count = BoltFormat.pageHeaderBytes + BoltFormat.metaBytes
    guard offset + count <= size else { return .failure(.magic) }
    let buffer = PageBuffer()
    try buffer.read(descriptor, at: offset, count: count)
    do throws(BoltMeta.Flaw) {
      return .success(try BoltMeta(buffer.bytes))
    } catch {
      return .failure(error)
    }
  }

  // MARK: Pages

  /// Reads the run of pages that begins with page `id`; the bytes are valid until the next call for
  /// the same level.
  func page(_ id: UInt64, level: Int) throws(BoltError) -> BoltPage {
    guard id >= 2, id < meta.pageCount else {
      throw .damaged(page: id, reason: "there is no such page of content")
    }
    while buffers.count <= level { buffers.append(PageBuffer()) }
    let buffer = buffers[level]
    try buffer.read(descriptor, at: Int(id) * pageBytes, count: pageBytes)
    let overflow = UInt64(buffer.bytes.integer(at: 12, as: UInt32.self))
    guard overflow < meta.pageCount - id else {
      throw .damaged(page: id, reason: "its run of \(overflow + 1) pages leaves the file")
    }
    let count = (Int(overflow) + 1) * pageBytes
    guard count <= BoltFormat.runBytesMax else {
      throw .damaged(page: id, reason: "its run has \(count) bytes")
    }
    if overflow > 0 { try buffer.read(descriptor, at: Int(id) * pageBytes, count: count) }
    bytesRead += count
    let page = BoltPage(id: id, bytes: buffer.bytes)
    guard page.number == id else {
      throw .damaged(page: id, reason: "it says that it is page \(page.number)")
    }
    return page
  }
}

/// Memory for a run of pages, reused from run to run.
final class PageBuffer {
  private var memory: UnsafeMutableRawPointer?
  private var capacity = 0
  private var count = 0

  /// More than this is given back when a shorter run follows.
  private static let keptBytesMax = 1 << 20

  var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: memory, count: count) }

  deinit {
    memory?.deallocate()
  }

  func read(_ descriptor: Int32, at offset: Int, count wanted: Int) throws(BoltError) {
    if wanted > capacity || (capacity > Self.keptBytesMax && wanted <= Self.keptBytesMax) {
      memory?.deallocate()
      memory = .allocate(byteCount: wanted, alignment: 16)
      capacity = wanted
    }
    count = 0
    while count < wanted {
      let got = pread(descriptor, memory.map { $0 + count }, wanted - count, off_t(offset + count))
      if got < 0, errno == EINTR { continue }
      guard got >= 0 else { throw .failed(operation: "reading the file", code: errno) }
      guard got > 0 else {
        throw .damaged(page: nil, reason: "the file ends at byte \(offset + count)")
      }
      count += got
    }
  }
}
