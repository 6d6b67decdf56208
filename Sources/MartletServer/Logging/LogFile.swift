import Base
import Glibc

/// One log file, which may be put aside when it is full: as `name-2026-11-29T21-15-40.123.log` beside
/// `name.log`. Whatever fails at that, the file that is open goes on: a log must not stop a server, nor
/// lose lines. Not thread-safe.
struct LogFile {
  private let path: String
  private let rotation: LogRotation?
  private(set) var descriptor: Int32
  private var bytes: Int

  /// Opens the file, with mode 0600 if it is new, at its end. Throws what `errno` says.
  init(path: String, rotation: LogRotation?) throws(OpenFailure) {
    self.path = path
    self.rotation = rotation
    descriptor = Self.open(path)
    guard descriptor >= 0 else { throw OpenFailure(reason: String(cString: strerror(errno))) }
    bytes = max(0, Int(lseek(descriptor, 0, SEEK_END)))
  }

  struct OpenFailure: Error {
    let reason: String
  }

  private static func open(_ path: String) -> Int32 {
    Glibc.open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o600)
  }

  func close() { Glibc.close(descriptor) }

  /// Must precede the writing of so many bytes.
  mutating func willWrite(_ count: Int) {
    if let rotation, bytes > 0, bytes + count > rotation.fileBytesMax { rotate(rotation) }
    bytes += count
  }

  private mutating func rotate(_ rotation: LogRotation) {
    let (folder, name, suffix) = Self.parts(path)
    let backup = "\(folder)\(name)-\(Self.timestamp(isLocal: rotation.usesLocalTime))\(suffix)"
    // One of the same millisecond must not be written over.
    guard access(backup, F_OK) != 0, rename(path, backup) == 0 else { return }
    let next = Self.open(path)
    guard next >= 0 else {
      rename(backup, path)
      return
    }
    close()
    descriptor = next
    bytes = 0
    prune(rotation, folder: folder, name: name, suffix: suffix)
  }

  /// Removes files put aside that are too old or too many.
  private func prune(_ rotation: LogRotation, folder: String, name: String, suffix: String) {
    guard rotation.backupsMax > 0 || rotation.ageDaysMax > 0 else { return }
    let backups = Self.files(in: folder.isEmpty ? "." : folder)
      .filter { file in
        file.hasPrefix("\(name)-") && file.hasSuffix(suffix)
          && file.utf8.count == name.utf8.count + suffix.utf8.count + 1 + Self.timestampLength
      }
      .sorted(by: >)
    // The names tell when files were put aside, and times sort as text.
    let oldest =
      "\(name)-"
      + Self.timestamp(
        isLocal: rotation.usesLocalTime,
        secondsAgo: rotation.ageDaysMax * Self.secondsPerDay
      )
    for (place, file) in backups.enumerated() {
      let isTooMany = rotation.backupsMax > 0 && place >= rotation.backupsMax
      let isTooOld = rotation.ageDaysMax > 0 && file < oldest
      if isTooMany || isTooOld { unlink("\(folder)\(file)") }
    }
  }

  private static let secondsPerDay = 86_400
  private static let timestampLength = "2026-11-29T21-15-40.123".utf8.count

  /// The folder with its slash, the name up to its last dot, and the rest.
  private static func parts(_ path: String) -> (folder: String, name: String, suffix: String) {
    let start = path.lastIndex(of: "/").map { path.index(after: $0) } ?? path.startIndex
    let file = path[start...]
    let dot = file.lastIndex(of: ".") ?? file.endIndex
    return (String(path[..<start]), String(file[..<dot]), String(file[dot...]))
  }

  private static func timestamp(isLocal: Bool, secondsAgo: Int = 0) -> String {
    let now = SystemTime.wallNanoseconds
    var when = time_t(now / 1_000_000_000) - secondsAgo
    var parts = tm()
    if isLocal { localtime_r(&when, &parts) } else { gmtime_r(&when, &parts) }
    var text = [CChar](repeating: 0, count: timestampLength + 1)
    let length = strftime(&text, text.count, "%Y-%m-%dT%H-%M-%S", &parts)
    let date = String(decoding: text.prefix(length).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return "\(date).\(String(1000 + now % 1_000_000_000 / 1_000_000).dropFirst())"
  }

  private static func files(in folder: String) -> [String] {
    guard let listing = opendir(folder) else { return [] }
    defer { closedir(listing) }
    var names: [String] = []
    while let entry = readdir(listing) {
      names.append(
        withUnsafeBytes(of: entry.pointee.d_name) { bytes in
          String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
      )
    }
    return names
  }
}
