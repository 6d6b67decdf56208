import Base
import Glibc
import Storage
import Synchronization

/// A small generator whose seed decides everything that a test does.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) {
    state = seed
  }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
    return mixed ^ mixed >> 31
  }
}

/// A directory that lives as long as the object.
final class TemporaryDirectory: Sendable {
  let path: String

  init() {
    var template = Array("/tmp/martlet-storage-XXXXXX".utf8CString)
    guard let made = mkdtemp(&template) else { fatalError("mkdtemp: \(errno)") }
    path = String(cString: made)
  }

  deinit {
    _ = removeTree(path)
  }

  func file(_ name: String) -> String { "\(path)/\(name)" }

  var names: [String] { listDirectory(path) }
}

func listDirectory(_ path: String) -> [String] {
  guard let directory = opendir(path) else { return [] }
  defer { closedir(directory) }
  var names: [String] = []
  while let entry = readdir(directory) {
    let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
      String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
    if name != "." && name != ".." { names.append(name) }
  }
  return names.sorted()
}

private func removeTree(_ path: String) -> Bool {
  for name in listDirectory(path) { unlink("\(path)/\(name)") }
  return rmdir(path) == 0
}

func readFile(_ path: String) -> [UInt8] {
  guard let file = fopen(path, "r") else { return [] }
  defer { fclose(file) }
  var content: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 1 << 16)
  while true {
    let count = fread(&buffer, 1, buffer.count, file)
    if count == 0 { return content }
    content += buffer[..<count]
  }
}

func writeFile(_ path: String, _ content: [UInt8]) {
  guard let file = fopen(path, "w") else { fatalError("cannot write \(path): \(errno)") }
  fwrite(content, 1, content.count, file)
  fclose(file)
}

/// Runs bodies on threads of their own and waits for all of them.
func runThreads(_ bodies: [@Sendable () -> Void]) {
  final class Box: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }
  var threads: [pthread_t] = []
  for body in bodies {
    var thread = pthread_t()
    let box = Unmanaged.passRetained(Box(body))
    let status = pthread_create(
      &thread,
      nil,
      { argument in
        if let argument { Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body() }
        return nil
      },
      box.toOpaque()
    )
    precondition(status == 0, "pthread_create: \(status)")
    threads.append(thread)
  }
  for thread in threads { pthread_join(thread, nil) }
}

/// The value that tests store under a revision: its content tells which revision it belongs to.
func testValue(_ revision: ChangeRevision, length: Int) -> [UInt8] {
  var value: [UInt8] = []
  withUnsafeBytes(of: (revision.main, revision.sub)) { value += $0 }
  var generator = SeededGenerator(seed: UInt64(bitPattern: revision.main &* 31 &+ revision.sub))
  while value.count < length { value.append(UInt8(truncatingIfNeeded: generator.next())) }
  return Array(value.prefix(max(length, 0)))
}

/// The length of the value under a revision, for tests that check values without a model.
func testLength(_ revision: ChangeRevision) -> Int {
  16 + Int((revision.main &* 7919 &+ revision.sub &* 104_729) % 400)
}

func littleEndian(_ value: Int64) -> [UInt8] {
  withUnsafeBytes(of: value.littleEndian) { [UInt8]($0) }
}

func integer(_ bytes: [UInt8]?) -> Int64 {
  guard let bytes, bytes.count == 8 else { return 0 }
  return bytes.withUnsafeBytes { Int64(littleEndian: $0.loadUnaligned(as: Int64.self)) }
}

/// One stored record, as tests compare it.
struct Record: Hashable, CustomStringConvertible {
  var tombstone: Bool
  var bytes: [UInt8]

  var description: String { "\(tombstone ? "tombstone" : "value") of \(bytes.count) bytes" }
}

extension RevisionStorage {
  func contents() throws -> [ChangeRevision: Record] {
    var found: [ChangeRevision: Record] = [:]
    var last: ChangeRevision?
    try scanAll { revision, tombstone, bytes in
      if let last { precondition(last < revision, "scan out of order") }
      last = revision
      found[revision] = Record(tombstone: tombstone, bytes: [UInt8](bytes))
      return true
    }
    return found
  }
}

extension StorageReader {
  func record(of revision: ChangeRevision) throws -> Record? {
    try withValue(of: revision) { Record(tombstone: $1, bytes: [UInt8]($0)) }
  }
}

extension TieredStorage {
  func append(_ revision: ChangeRevision, _ record: Record) {
    record.bytes.withUnsafeBytes { append(revision, tombstone: record.tombstone, bytes: $0) }
  }

  /// Seals, runs and finishes: what a flusher does.
  func flush(_ metadata: MetadataChanges = []) throws {
    guard let job = seal(metadata: metadata) else { return }
    try job.run()
    finish(job)
  }
}
