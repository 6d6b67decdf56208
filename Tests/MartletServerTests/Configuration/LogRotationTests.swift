import Glibc
import MartletServer
import Testing

@Suite("Log rotation")
struct LogRotationTests {
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
    return names.filter { !$0.hasPrefix(".") }.sorted()
  }

  private static func content(_ path: String) throws -> [UInt8] {
    let file = try #require(fopen(path, "r"))
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: 1 << 20)
    let count = fread(&bytes, 1, bytes.count, file)
    return Array(bytes.prefix(count))
  }

  @Test("the flag's words, and their defaults")
  func settings() throws {
    let all = try LogRotation(
      json: #"{"maxsize": 3, "maxage": 4, "maxbackups": 5, "localtime": true, "compress": true}"#
    )
    #expect(all.fileBytesMax == 3 << 20)
    #expect(all.ageDaysMax == 4 && all.backupsMax == 5)
    #expect(all.usesLocalTime && all.wantsCompression)
    #expect(try LogRotation(json: "{}") == LogRotation())
    #expect(try LogRotation(json: #"{"maxsize": 0}"#).fileBytesMax == 100 << 20)
  }

  @Test("a full file is put aside, no line is lost, and only so many are kept", arguments: [0, 2])
  func rotates(backupsMax: Int) throws {
    let folder = try TemporaryFolder()
    let path = "\(folder.path)/the.member.log"
    var rotation = LogRotation()
    rotation.fileBytesMax = 100
    rotation.backupsMax = backupsMax
    let other = "\(folder.path)/the.member-notes.log"
    let stranger = try LogSink([.file(other)])
    stranger.write("stays")
    let first = try LogSink([.file(path)], rotation: rotation)
    let line = String(repeating: "x", count: 39)
    for _ in 0..<2 { first.write(line) }
    // A file that is there already counts with what it has.
    let sink = try LogSink([.file(path)], rotation: rotation)
    for number in 0..<6 {
      sink.write(line)
      // Names have milliseconds; two files of one would stay together.
      if number % 2 == 0 { usleep(3000) }
    }
    let files = Self.files(in: folder.path)
    #expect(files.contains("the.member.log") && files.contains("the.member-notes.log"))
    let backups = files.filter { $0.hasPrefix("the.member-2") && $0.hasSuffix(".log") }
    let bytes = try (backups + ["the.member.log"])
      .map { try Self.content("\(folder.path)/\($0)").count }.reduce(0, +)
    if backupsMax == 0 {
      #expect(bytes == 8 * 40)
      #expect(backups.count == 3)
    } else {
      #expect(backups.count == backupsMax)
    }
    for file in files { unlink("\(folder.path)/\(file)") }
  }

  @Test("a file that cannot be put aside goes on")
  func readOnlyFolder() throws {
    let folder = try TemporaryFolder()
    let path = "\(folder.path)/log"
    var rotation = LogRotation()
    rotation.fileBytesMax = 10
    let sink = try LogSink([.file(path)], rotation: rotation)
    sink.write("first line")
    // Gone under our hands: there is nothing to rename, and nothing to stop for.
    unlink(path)
    sink.write("second line")
    #expect(Self.files(in: folder.path).isEmpty)
  }
}
