import Base
import Crypto
import Glibc
import Proto
import RPC
import Storage

/// A copy of the store on its way to a client: blobs of the file, then the SHA-256 of it all.
///
/// The copy is made on the housekeeper's thread; it has no name any more once it is open, so it is
/// gone with the process whatever happens.
final class SnapshotFile: @unchecked Sendable {
  // Used by one thread at a time: `PumpedStream` sees to it.
  private let descriptor: Int32
  private let totalBytes: Int
  private var offset = 0
  private var digest = SHA256()

  /// Bytes of the file in one message.
  private static let blobBytes = 256 << 10

  enum Failure: Error {
    case open(errno: Int32)
    case storage(StorageError)
  }

  /// Copies the store as it is on disk now.
  init(of storage: TieredStorage, in directory: String) throws(Failure) {
    let path = "\(directory)/snapshot-\(getpid())-\(UInt64.random(in: 0 ... .max)).tmp"
    do throws(StorageError) {
      try storage.copySnapshot(to: path)
    } catch {
      unlink(path)
      throw .storage(error)
    }
    descriptor = open(path, O_RDONLY | O_CLOEXEC)
    let code = errno
    unlink(path)
    guard descriptor >= 0 else { throw .open(errno: code) }
    totalBytes = lseek(descriptor, 0, SEEK_END)
    lseek(descriptor, 0, SEEK_SET)
  }

  deinit {
    close(descriptor)
  }

  /// Writes the next `SnapshotResponse`.
  func next(
    header: Etcdserverpb.ResponseHeader,
    into message: inout ByteWriter
  ) -> PumpedStream.Step {
    var response = Etcdserverpb.SnapshotResponse()
    response.header = header
    response.version = Version.storage
    if offset == totalBytes {
      response.blob = Array(digest.finalize())
      response.encode(into: &message)
      return .last
    }
    let wanted = min(Self.blobBytes, totalBytes - offset)
    var length = 0
    response.blob = [UInt8](unsafeUninitializedCapacity: wanted) { buffer, count in
      length = pread(descriptor, buffer.baseAddress, wanted, off_t(offset))
      count = max(length, 0)
    }
    guard length > 0 else {
      return .failed(RPCStatus(.internal, "etcdserver: reading a snapshot failed: errno \(errno)"))
    }
    response.blob.withUnsafeBytes { digest.update(bufferPointer: $0) }
    offset += length
    response.remainingBytes = UInt64(totalBytes - offset)
    response.encode(into: &message)
    return .more
  }
}
