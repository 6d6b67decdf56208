import Base
import Glibc
import Synchronization

/// A disk in memory that forgets what was not synced, tears writes and fails on demand; all that
/// happens follows from the seed and the order of the calls.
///
/// Copies of a file system are one disk; `copy()` makes another.
package final class SimulatedFileSystem: FileSystem {
  /// An open file. Void after `crash()` or `restart()`: its calls then throw EBADF.
  package struct File: Sendable {
    let inode: Int
    let path: String
    let generation: Int
    let isLock: Bool
  }

  private let disk: Mutex<SimulatedDisk>
  private let resumed = Semaphore()

  package convenience init(seed: UInt64) {
    self.init(SimulatedDisk(seed: seed))
  }

  private init(_ disk: SimulatedDisk) {
    self.disk = Mutex(disk)
  }

  // What tests do to the disk

  /// Another disk with the same content, synced and not.
  package func copy() -> SimulatedFileSystem {
    SimulatedFileSystem(disk.withLock { $0 })
  }

  /// The power goes and comes back: what was synced is there, and any part of what was not; open
  /// files and locks are gone, and so are the faults that were set.
  package func crash() {
    disk.withLock { $0.crash() }
  }

  /// The process ends and another starts; the system keeps all that was written.
  package func restart() {
    disk.withLock { $0.restart() }
  }

  /// Lets `operation` fail once with `code`, after `skip` calls that succeed. A failed write or sync
  /// has any part of its effect.
  package func fail(_ operation: FileOperation, skip: Int = 0, code: Int32 = EIO) {
    disk.withLock { $0.faults.append(.init(operation: operation, skip: skip, code: code)) }
  }

  /// Lets every operation from the one with this number on fail (see `operationCount`).
  package func stop(atOperation number: Int?) {
    disk.withLock { $0.stopAt = number }
  }

  /// How many operations were called.
  package var operationCount: Int { disk.withLock { $0.operationCount } }

  /// Lets calls of `operation` hang until `resume()`.
  package func hang(_ operation: FileOperation) {
    disk.withLock { _ = $0.held.insert(operation) }
  }

  /// Lets calls that hang go on.
  package func resume() {
    let count = disk.withLock { disk in
      disk.held.removeAll()
      defer { disk.hangingCount = 0 }
      return disk.hangingCount
    }
    resumed.signal(count)
  }

  /// How many calls hang.
  package var hangingCount: Int { disk.withLock { $0.hangingCount } }

  /// Bounds the size of all files together; nil for no bound.
  package func limit(bytes: Int?) {
    disk.withLock { $0.bytesMax = bytes }
  }

  /// The size of all files together.
  package var usedBytes: Int { disk.withLock { $0.usedBytes } }

  /// Flips a bit (0 to 7) of a byte, in memory and on the disk.
  package func flip(bit: Int, of path: String, at offset: Int) {
    disk.withLock { disk in
      guard let number = disk.names[path] else { return }
      _ = disk.withInode(number) { inode, _ in inode.flip(bit: bit, at: offset) }
    }
  }

  /// A file's content as a process sees it; nil if there is none.
  package func content(_ path: String) -> [UInt8]? {
    disk.withLock { disk in disk.names[path].flatMap { disk.inodes[$0]?.current } }
  }

  /// Puts a file there, durable at once.
  package func setContent(_ path: String, _ bytes: [UInt8]) {
    disk.withLock { disk in
      _ = disk.create(path, SimulatedInode(durable: bytes))
      disk.syncNames()
    }
  }

  // FileSystem

  package func createDirectory(_ path: String) throws(FileError) {
    try run(.createDirectory, path) { disk in
      disk.directories.insert(path)
      return .success(())
    }
  }

  package func list(_ directory: String) throws(FileError) -> [String] {
    try run(.list, directory) { disk in
      let prefix = directory + "/"
      let names = disk.names.keys.filter { $0.hasPrefix(prefix) }
      guard disk.directories.contains(directory) || !names.isEmpty else {
        return .failure(ENOENT)
      }
      return .success(names.map { String($0.dropFirst(prefix.count)) }.sorted())
    }
  }

  package func open(_ path: String, _ mode: FileMode) throws(FileError) -> File {
    try run(.open, path) { disk in
      let inode: Int
      if mode == .create {
        inode = disk.create(path)
      } else if let found = disk.names[path] {
        inode = found
      } else {
        return .failure(ENOENT)
      }
      return .success(
        File(inode: inode, path: path, generation: disk.generation, isLock: false)
      )
    }
  }

  package func close(_ file: File) {
    disk.withLock { disk in
      guard file.isLock, file.generation == disk.generation else { return }
      disk.locked.remove(file.path)
    }
  }

  package func size(_ file: File) throws(FileError) -> Int {
    try run(.size, file) { inode, _ in .success(inode.current.count) }
  }

  package func read(
    _ file: File,
    into target: UnsafeMutableRawBufferPointer,
    at offset: Int
  ) throws(FileError) -> Int {
    let address = UInt(bitPattern: target.baseAddress)
    let wanted = target.count
    return try run(.read, file) { inode, _ in
      let count = max(0, min(wanted, inode.current.count - offset))
      if count > 0, let base = UnsafeMutableRawPointer(bitPattern: address) {
        inode.current[offset..<offset + count].withUnsafeBytes { source in
          UnsafeMutableRawBufferPointer(start: base, count: count).copyMemory(from: source)
        }
      }
      return .success(count)
    }
  }

  package func write(
    _ file: File,
    _ bytes: UnsafeRawBufferPointer,
    at offset: Int
  ) throws(FileError) {
    let bytes = Array(bytes)
    try grow(.write, file, to: offset + bytes.count) { inode in
      bytes.withUnsafeBytes { inode.write($0, at: offset) }
    } failing: { inode, random in
      let count = Int.random(in: 0...bytes.count, using: &random)
      bytes[..<count].withUnsafeBytes { inode.write($0, at: offset) }
    }
  }

  package func preallocate(_ file: File, bytes: Int) throws(FileError) {
    try grow(.preallocate, file, to: bytes) {
      $0.grow(to: bytes)
    } failing: { _, _ in
    }
  }

  package func syncData(_ file: File) throws(FileError) {
    try run(.syncData, file) { inode, _ in
      inode.sync()
      return .success(())
    } failing: { inode, random in
      inode.failSync(&random)
    }
  }

  package func syncDirectory(_ path: String) throws(FileError) {
    try run(.syncDirectory, path) { disk in
      disk.syncNames()
      return .success(())
    }
  }

  package func rename(_ source: String, to target: String) throws(FileError) {
    try run(.rename, source) { disk in
      disk.rename(source, to: target) ? .success(()) : .failure(ENOENT)
    }
  }

  package func remove(_ path: String) throws(FileError) {
    try run(.remove, path) { disk in disk.remove(path) ? .success(()) : .failure(ENOENT) }
  }

  package func lock(_ path: String) throws(FileError) -> File {
    try run(.lock, path) { disk in
      guard disk.locked.insert(path).inserted else { return .failure(EWOULDBLOCK) }
      let inode = disk.names[path] ?? disk.create(path)
      return .success(
        File(inode: inode, path: path, generation: disk.generation, isLock: true)
      )
    }
  }

  package func salt() -> UInt64 {
    disk.withLock { $0.random.next() }
  }
}

extension SimulatedFileSystem {
  private enum Outcome<Value: Sendable>: Sendable {
    case success(Value)
    case failure(Int32)
    case hang
  }

  /// Counts the operation, lets it hang or fail as told, and else runs `body` on the disk.
  private func run<Value: Sendable>(
    _ operation: FileOperation,
    _ path: String,
    _ body: (inout SimulatedDisk) -> Outcome<Value>,
    failing: (inout SimulatedDisk) -> Void = { _ in }
  ) throws(FileError) -> Value {
    while true {
      let outcome = disk.withLock { disk -> Outcome<Value> in
        if disk.held.contains(operation) {
          disk.hangingCount += 1
          return .hang
        }
        disk.operationCount += 1
        var code: Int32?
        if let stopAt = disk.stopAt, disk.operationCount >= stopAt { code = EIO }
        if let at = disk.faults.firstIndex(where: { $0.operation == operation }) {
          if disk.faults[at].skip == 0 {
            code = disk.faults.remove(at: at).code
          } else {
            disk.faults[at].skip -= 1
          }
        }
        guard let code else { return body(&disk) }
        failing(&disk)
        return .failure(code)
      }
      switch outcome {
      case .success(let value): return value
      case .failure(let code):
        throw FileError(operation: operation, path: path, code: code)
      case .hang: resumed.wait()
      }
    }
  }

  private func run<Value: Sendable>(
    _ operation: FileOperation,
    _ file: File,
    _ body: (inout SimulatedInode, Int) -> Outcome<Value>,
    failing: (inout SimulatedInode, inout SeededNumbers) -> Void = { _, _ in }
  ) throws(FileError) -> Value {
    try run(operation, file.path) { disk in
      guard file.generation == disk.generation else { return .failure(EBADF) }
      return disk.withInode(file.inode) { inode, _ in body(&inode, 0) } ?? .failure(EBADF)
    } failing: { disk in
      guard file.generation == disk.generation else { return }
      _ = disk.withInode(file.inode) { inode, random in failing(&inode, &random) }
    }
  }

  /// Runs a change that may need room.
  private func grow(
    _ operation: FileOperation,
    _ file: File,
    to size: Int,
    _ body: (inout SimulatedInode) -> Void,
    failing: (inout SimulatedInode, inout SeededNumbers) -> Void
  ) throws(FileError) {
    try run(operation, file.path) { disk -> Outcome<Void> in
      guard file.generation == disk.generation, let inode = disk.inodes[file.inode] else {
        return .failure(EBADF)
      }
      let more = size - inode.current.count
      if let bytesMax = disk.bytesMax, more > 0, disk.usedBytes + more > bytesMax {
        return .failure(ENOSPC)
      }
      _ = disk.withInode(file.inode) { inode, _ in body(&inode) }
      return .success(())
    } failing: { disk in
      guard file.generation == disk.generation else { return }
      _ = disk.withInode(file.inode) { inode, random in failing(&inode, &random) }
    }
  }
}

/// Where hanging calls wait.
private final class Semaphore: @unchecked Sendable {
  // Safe to share: the functions on the semaphore are.
  private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

  init() {
    sem_init(semaphore, 0, 0)
  }

  deinit {
    sem_destroy(semaphore)
    semaphore.deallocate()
  }

  func wait() {
    while sem_wait(semaphore) != 0 {}
  }

  func signal(_ count: Int) {
    for _ in 0..<count { sem_post(semaphore) }
  }
}
