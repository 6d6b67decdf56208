import Foundation
import Testing

/// Runs the scripts in `testdata`. A script is a sequence of a command, `----`, the output that it
/// must have, and an empty line; lines that start with `#` between them are comments.
///
/// `RAFT_REWRITE=1` replaces the expected outputs by the real ones, to be read before they are kept.
@Suite struct TranscriptTests {
  static let folder = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().appendingPathComponent("testdata")

  static let names: [String] = {
    let all = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
    return all.filter { $0.hasSuffix(".txt") }.sorted()
  }()

  @Test func thereAreTranscripts() {
    #expect(Self.names.count >= 12)
  }

  @Test(arguments: names) func transcript(_ name: String) throws {
    let file = Self.folder.appendingPathComponent(name)
    let text = try String(contentsOf: file, encoding: .utf8)
    var script = Script()
    var rewritten: [String] = []
    var lines = text.components(separatedBy: "\n")[...]
    if lines.last == "" { lines.removeLast() }
    while let line = lines.popFirst() {
      rewritten.append(line)
      if line.isEmpty || line.hasPrefix("#") { continue }
      try #require(lines.popFirst() == "----", "\(name): no ---- after \(line)")
      rewritten.append("----")
      var expected: [String] = []
      while let next = lines.first, !next.isEmpty {
        expected.append(next)
        lines.removeFirst()
      }
      let actual = try script.run(line)
      rewritten += actual
      if !Self.isRewriting {
        #expect(
          actual == expected,
          "\(name): \(line)\n\(actual.joined(separator: "\n"))"
        )
      }
    }
    if Self.isRewriting {
      let result = rewritten.joined(separator: "\n") + "\n"
      try result.write(to: file, atomically: true, encoding: .utf8)
    }
  }

  private static let isRewriting = ProcessInfo.processInfo.environment["RAFT_REWRITE"] == "1"
}
