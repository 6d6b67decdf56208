import Base
import Glibc

/// The calls to a file system that can fail.
package enum FileOperation: String, Hashable, Sendable {
  case createDirectory
  case open
  case list
  case read
  case write
  case preallocate
  case syncData
  case syncDirectory
  case rename
  case remove
  case size
  case lock
}

/// A call to the file system that failed. `code` is an errno.
package struct FileError: Error, Equatable, Sendable {
  package var operation: FileOperation
  package var path: String
  package var code: Int32

  package init(operation: FileOperation, path: String, code: Int32) {
    self.operation = operation
    self.path = path
    self.code = code
  }
}

/// How `FileSystem.open` treats the file.
package enum FileMode: Sendable {
  case read
  case readWrite
  /// Read and write; made if missing, emptied if present.
  case create
}

/// What the log needs of files: the seam at which tests and the simulator put a disk of their own.
///
/// Durability: bytes count as durable after `syncData` of their file returned; names after
/// `syncDirectory` of their directory did. After a failed sync, nothing is known of the bytes
/// written since the sync before, and syncing again proves nothing about them.
/// Implementations may be called from several threads.
package protocol FileSystem: Sendable {
  /// An open file.
  associatedtype File: Sendable

  /// Makes the directory and those above it that are missing, and makes their names durable.
  func createDirectory(_ path: String) throws(FileError)
  /// The names of the files in a directory, sorted.
  func list(_ directory: String) throws(FileError) -> [String]
  func open(_ path: String, _ mode: FileMode) throws(FileError) -> File
  func close(_ file: File)
  func size(_ file: File) throws(FileError) -> Int
  /// Reads up to `target.count` bytes; fewer only at the file's end.
  func read(
    _ file: File,
    into target: UnsafeMutableRawBufferPointer,
    at offset: Int
  ) throws(FileError) -> Int
  /// Writes all of `bytes`, or throws and has written any part of them.
  func write(_ file: File, _ bytes: UnsafeRawBufferPointer, at offset: Int) throws(FileError)
  /// Makes the file at least `bytes` long with blocks of its own; throws ENOSPC if there are none.
  func preallocate(_ file: File, bytes: Int) throws(FileError)
  /// Makes the file's content and size durable (fdatasync).
  func syncData(_ file: File) throws(FileError)
  func syncDirectory(_ path: String) throws(FileError)
  /// Renames within a directory; an existing target is replaced.
  func rename(_ source: String, to target: String) throws(FileError)
  func remove(_ path: String) throws(FileError)
  /// Makes the file if missing and locks it until it is closed; throws EWOULDBLOCK if another
  /// holds it.
  func lock(_ path: String) throws(FileError) -> File
  /// A number that was not there before: random in production.
  func salt() -> UInt64
}

/// Closes its file when nobody needs it any more.
final class FileHandle<Files: FileSystem>: Sendable {
  let files: Files
  let file: Files.File
  let path: String

  init(_ files: Files, _ path: String, _ mode: FileMode) throws(LogError) {
    do {
      file = try files.open(path, mode)
    } catch {
      throw LogError(error)
    }
    self.files = files
    self.path = path
  }

  init(locking path: String, _ files: Files) throws(LogError) {
    do {
      file = try files.lock(path)
    } catch {
      throw error.code == EWOULDBLOCK ? .locked(file: path) : LogError(error)
    }
    self.files = files
    self.path = path
  }

  /// Reads `range`, or what of it lies in the file, into a block of its own.
  func block(_ range: Range<Int>) throws(LogError) -> ByteBlock {
    let count = range.count
    let base = UnsafeMutableRawPointer.allocate(byteCount: max(count, 1), alignment: 16)
    let target = UnsafeMutableRawBufferPointer(start: base, count: count)
    do {
      let read = try files.read(file, into: target, at: range.lowerBound)
      return ByteBlock(adopting: base, count: read)
    } catch {
      base.deallocate()
      throw LogError(error)
    }
  }

  deinit {
    files.close(file)
  }
}

extension LogError {
  init(_ error: FileError) {
    self = .failed(error.operation, file: error.path, code: error.code)
  }

  /// ENOSPC while a segment is prepared: the one failure that is told apart.
  init(preparing error: FileError) {
    let isFull = error.code == ENOSPC || error.code == EDQUOT
    self = isFull ? .diskFull(file: error.path) : LogError(error)
  }
}

/// The system's words for an errno.
func errorText(_ code: Int32) -> String {
  var buffer = [CChar](repeating: 0, count: 128)
  guard strerror_r(code, &buffer, buffer.count) == 0 else { return "unknown" }
  return String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init), as: UTF8.self)
}
