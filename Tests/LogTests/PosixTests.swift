import Base
import Glibc
import Log
import Testing

/// The log on the operating system's files.
@Suite struct PosixTests {
  /// Runs `body` with a directory of its own, removed afterwards.
  private func withDirectory(_ body: (String) throws -> Void) throws {
    var template = Array("/tmp/martlet-log-XXXXXX".utf8CString)
    #expect(mkdtemp(&template) != nil)
    let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let files = PosixFileSystem()
    defer {
      for name in (try? files.list(path + "/a/log")) ?? [] {
        try? files.remove(path + "/a/log/" + name)
      }
      for part in ["/a/log", "/a", ""] { rmdir(path + part) }
    }
    try body(path + "/a/log")
  }

  private let configuration = LogConfiguration(
    segmentBytesMax: 256 << 10,
    firstSegmentBytes: 64 << 10,
    readBlockBytes: 8 << 10
  )

  @Test func roundTripWithReleaseAndRecycling() throws {
    try withDirectory { path in
      let files = PosixFileSystem()
      var index: UInt64 = 0
      for round in 1...6 {
        let (log, recovered) = try SegmentedLog.open(
          directory: path,
          files: files,
          configuration: configuration,
          metadata: owner
        )
        #expect(recovered.lastIndex == LogIndex(index) && recovered.isNew == (round == 1))
        for _ in 1...40 {
          let entries = (1...10).map { entry(index + $0, String(repeating: "p", count: 300)) }
          try log.write(entries, hardState(1, 1, index))
          index += 10
          if log.needsPreparation { try log.preparer.prepare() }
        }
        try log.recordSnapshot(
          index: LogIndex(index - 7),
          term: Term(1),
          confState: SharedBytes([9])
        )
        try log.sync()
        log.release(through: LogIndex(index - 7))
        #expect(throws: LogError.locked(file: path + "/LOCK")) {
          _ = try SegmentedLog.open(directory: path, files: files, metadata: nil)
        }
      }
      let (_, recovered) = try SegmentedLog.open(
        directory: path,
        files: files,
        configuration: configuration,
        metadata: nil
      )
      #expect(recovered.entries.count == 7 && recovered.lastIndex == LogIndex(index))
      #expect(recovered.hardState == hardState(1, 1, index - 10))
      #expect(try files.list(path).count < 8)
    }
  }

  @Test func errorsNameTheFileAndTheReason() throws {
    let files = PosixFileSystem()
    #expect(throws: FileError(operation: .open, path: "/nowhere/x", code: ENOENT)) {
      _ = try files.open("/nowhere/x", .read)
    }
    #expect(throws: LogError.failed(.list, file: "/nowhere", code: ENOENT)) {
      _ = try SegmentedLog.open(directory: "/nowhere", files: files, metadata: nil)
    }
    let error = LogError.failed(.syncData, file: "/x", code: ENOSPC)
    #expect("\(error)" == "log: syncData of /x failed: errno 28 (No space left on device)")
    #expect(
      "\(LogError.damaged(file: "/x", offset: 4096, .frame))"
        == "log: damaged in /x at offset 4096: "
        + "the batch does not check, though later ones show that it was durable"
    )
  }
}
