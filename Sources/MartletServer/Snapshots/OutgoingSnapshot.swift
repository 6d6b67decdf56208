import Crypto
import Glibc
package import Replica
package import Storage

/// A copy of the store on its way to another member. The file has no name any more once it is open,
/// so it is gone with the process whatever happens.
package final class OutgoingSnapshot: @unchecked Sendable {
  // Used by one task at a time.
  private let descriptor: Int32
  package let totalBytes: Int
  /// How far the log is applied in it.
  package let mark: LogMark
  private var offset = 0
  private var digest = SHA256()

  /// How the files are named while they are made.
  static let namePrefix = "outgoing-"
  /// What is read at a time at most.
  private static let partBytesMax = 1 << 20

  package enum Failure: Error, CustomStringConvertible {
    case storage(StorageError)
    case file(errno: Int32)
    case noMark

    package var description: String {
      switch self {
      case .storage(let error): "\(error)"
      case .file(let code): "reading the copy: errno \(code)"
      case .noMark: "the copy does not say how far it goes"
      }
    }
  }

  /// Copies what is on disk of `storage` to a file in `directory`. Takes as long as that does.
  package init(of storage: TieredStorage, in directory: String) throws(Failure) {
    let path = "\(directory)/\(Self.namePrefix)\(UInt64.random(in: 0 ... .max))"
    defer { SnapshotFiles.remove(path) }
    let bytes: [UInt8]?
    do throws(StorageError) {
      try storage.copySnapshot(to: path)
      let copy = try LMDBStorage(path: path)
      defer { copy.close() }
      bytes = try copy.metadata(StoredMetadata.appliedKey)
    } catch {
      throw .storage(error)
    }
    guard let bytes, let mark = try? LogMark(decoding: bytes) else { throw .noMark }
    self.mark = mark
    descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .file(errno: errno) }
    totalBytes = lseek(descriptor, 0, SEEK_END)
  }

  deinit {
    if descriptor >= 0 { close(descriptor) }
  }

  /// The next bytes, at most so many; nil at the end.
  package func next(bytesMax: Int) throws -> [UInt8]? {
    guard offset < totalBytes else { return nil }
    let wanted = min(bytesMax, Self.partBytesMax, totalBytes - offset)
    var length = 0
    let part = [UInt8](unsafeUninitializedCapacity: wanted) { buffer, count in
      repeat {
        length = pread(descriptor, buffer.baseAddress, wanted, off_t(offset))
      } while length < 0 && errno == EINTR
      count = max(length, 0)
    }
    guard length > 0 else { throw Failure.file(errno: errno) }
    part.withUnsafeBytes { digest.update(bufferPointer: $0) }
    offset += length
    return part
  }

  /// SHA-256 of all that `next` returned.
  package var sha256: [UInt8] { Array(digest.finalize()) }
}

/// Files of snapshots in the store's directory.
package enum SnapshotFiles {
  /// Removes a file and what opening it as a store left beside it.
  static func remove(_ path: String) {
    for name in [path, path + ".owner", path + "-lock"] { unlink(name) }
  }

  /// Removes what an earlier life of the member left.
  package static func removeLeftovers(in directory: String) {
    guard let listing = opendir(directory) else { return }
    defer { closedir(listing) }
    while let entry = readdir(listing) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      let isOurs =
        name.hasPrefix(OutgoingSnapshot.namePrefix)
        || name.hasPrefix(SnapshotIntake.namePrefix)
        || (name.hasPrefix("snapshot-") && name.hasSuffix(".tmp"))
      if isOurs { unlink("\(directory)/\(name)") }
    }
  }
}
