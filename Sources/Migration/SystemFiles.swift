import FoundationEssentials
import Glibc

func errorText(_ code: Int32) -> String { String(cString: strerror(code)) }

/// What the tools do with files beyond reading them.
enum SystemFiles {
  /// Whether something is at `path`, a link without a target included.
  static func exists(_ path: String) -> Bool {
    var link = [CChar](repeating: 0, count: 1)
    return access(path, F_OK) == 0 || readlink(path, &link, 1) >= 0
  }

  /// Whether `path` leads to a directory that can be read and has nothing in it.
  static func isEmptyDirectory(_ path: String) -> Bool {
    (try? FileManager.default.contentsOfDirectory(atPath: path))?.isEmpty ?? false
  }

  /// Removes whatever is at `path`, as well as it can be.
  static func removeTree(_ path: String) {
    try? FileManager.default.removeItem(atPath: path)
  }

  /// Makes a directory that is not there.
  static func makeDirectory(_ path: String) throws(MigrationError) {
    guard mkdir(path, 0o700) == 0 else {
      throw .failed(operation: "making \(path)", code: errno)
    }
  }

  /// Makes the directories that lead to `path`, where they are missing.
  static func makeParents(of path: String) throws(MigrationError) {
    do {
      try FileManager.default.createDirectory(
        atPath: parent(of: path),
        withIntermediateDirectories: true,
        attributes: [.posixPermissions: 0o700]
      )
    } catch {
      throw .file(path: parent(of: path), reason: "cannot be made: \(error)")
    }
  }

  /// A directory of its own for something in passing.
  static func makeTemporaryDirectory() throws(MigrationError) -> String {
    let parent = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
    let path =
      "\(parent)/martletutl-\(getpid())-\(String(UInt64.random(in: 0 ... .max), radix: 16))"
    try makeDirectory(path)
    return path
  }

  /// Makes the directory's entries durable.
  static func syncDirectory(_ path: String) throws(MigrationError) {
    let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .failed(operation: "opening \(path)", code: errno) }
    defer { close(descriptor) }
    guard fsync(descriptor) == 0 else { throw .failed(operation: "syncing \(path)", code: errno) }
  }

  /// The directory that `path` is in.
  static func parent(of path: String) -> String {
    var path = path[...]
    while path.count > 1, path.hasSuffix("/") { path = path.dropLast() }
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }

  static func absolute(_ path: String) -> String {
    if path.hasPrefix("/") { return path }
    return "\(FileManager.default.currentDirectoryPath)/\(path)"
  }
}
