import Glibc

/// The few file operations that the data directory needs.
enum Files {
  static func exists(_ path: String) -> Bool {
    access(path, F_OK) == 0
  }

  static func isEmpty(_ path: String) throws(DataDirectoryError) -> Bool {
    guard let directory = opendir(path) else { throw .failed(file: path, errno) }
    defer { closedir(directory) }
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
        Array(bytes.prefix { $0 != 0 })
      }
      if name != Array(".".utf8) && name != Array("..".utf8) { return false }
    }
    return true
  }

  /// The file's bytes; nothing when there is no such file. A longer one than `bytesMax` is cut.
  static func read(_ path: String, bytesMax: Int) throws(DataDirectoryError) -> [UInt8]? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    if descriptor < 0 {
      if errno == ENOENT { return nil }
      throw .failed(file: path, errno)
    }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: bytesMax)
    while bytes.count < bytesMax {
      let count = Glibc.read(descriptor, &chunk, bytesMax - bytes.count)
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw .failed(file: path, errno) }
      if count == 0 { break }
      bytes += chunk[..<count]
    }
    return bytes
  }

  /// Puts a file in place as a whole: after a crash there is the old one or the new one.
  static func replace(_ path: String, with text: String) throws(DataDirectoryError) {
    let temporary = path + ".tmp"
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw .failed(file: temporary, errno) }
    let code = writeAndSync(Array(text.utf8), descriptor)
    close(descriptor)
    guard code == 0 else { throw .failed(file: temporary, code) }
    guard rename(temporary, path) == 0 else { throw .failed(file: path, errno) }
    try syncDirectory(of: path)
  }

  /// Returns 0 or the errno of what failed.
  private static func writeAndSync(_ bytes: [UInt8], _ descriptor: Int32) -> Int32 {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return errno }
      rest = rest.dropFirst(count)
    }
    return fsync(descriptor) == 0 ? 0 : errno
  }

  /// Makes the directory entry of `path` durable.
  static func syncDirectory(of path: String) throws(DataDirectoryError) {
    var parent = path
    while parent.count > 1, parent.hasSuffix("/") { parent.removeLast() }
    if let slash = parent.lastIndex(of: "/") {
      parent = slash == parent.startIndex ? "/" : String(parent[..<slash])
    } else {
      parent = "."
    }
    let descriptor = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .failed(file: parent, errno) }
    defer { close(descriptor) }
    guard fsync(descriptor) == 0 else { throw .failed(file: parent, errno) }
  }
}
