import Foundation
import MartletClient
import Synchronization
import Testing

/// The examples of the library's articles are what runs here: each block of Swift in an article is one
/// between the marks in this folder, and each of those is in an article.
@Suite struct DocumentationTests {
  private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
  private static let catalogue = folder.deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("Sources/MartletClient/MartletClient.docc")

  private static func texts(
    _ folder: URL,
    _ suffix: String
  ) throws -> [(name: String, lines: [String])] {
    try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
      .filter { $0.hasSuffix(suffix) }
      .map { name in
        let text = try String(contentsOf: folder.appendingPathComponent(name), encoding: .utf8)
        return (name, text.components(separatedBy: "\n"))
      }
  }

  /// The runs of lines between two kinds of lines, without what all are indented by.
  private static func blocks(_ lines: [String], from begin: String, to end: String) -> [String] {
    var blocks: [String] = []
    var block: [String]?
    for line in lines {
      let word = line.trimmingCharacters(in: .whitespaces)
      if word == begin, block == nil {
        block = []
      } else if word == end, let complete = block {
        let indents = complete.filter { !$0.isEmpty }.map { $0.prefix { $0 == " " }.count }
        let indent = indents.min() ?? 0
        blocks.append(complete.map { String($0.dropFirst(indent)) }.joined(separator: "\n"))
        block = nil
      } else {
        block?.append(line)
      }
    }
    return blocks
  }

  @Test func articlesShowWhatRunsHere() throws {
    var shown: [String: String] = [:]
    for (name, lines) in try Self.texts(Self.catalogue, ".md") {
      for block in Self.blocks(lines, from: "```swift", to: "```") { shown[block] = name }
    }
    var run: Set<String> = []
    for (_, lines) in try Self.texts(Self.folder, "Article.swift") {
      run.formUnion(Self.blocks(lines, from: "// begin", to: "// end"))
    }
    #expect(shown.count >= 20)
    for (block, name) in shown where !run.contains(block) {
      Issue.record("\(name) shows what does not run:\n\(block)")
    }
    for block in run where shown[block] == nil {
      Issue.record("no article shows:\n\(block)")
    }
  }

  @Test(arguments: ServerKind.all)
  func examplesRun(server: ServerKind) async throws {
    try await server.withClient { client in
      let endpoints = client.endpoints
      let print = Printer()
      try await GettingStartedArticle.run(endpoints, print)
      #expect(
        print.lines == [
          "green", "blue", "config/colour = green", "put config/colour red",
        ]
      )
      print.clear()
      try await WatchingArticle.run(client, print)
      #expect(print.lines.first?.hasSuffix("account/a=90 account/b=110") == true)
      #expect(print.lines.dropFirst() == ["alice has left", "followed 1", "followed 2"])
      print.clear()
      try await TransactionsArticle.run(client, print)
      #expect(print.lines == ["taken by worker-1"])
      print.clear()
      try await LocksAndElectionsArticle.run(client, print)
      #expect(print.lines == ["led by host-2"])
      print.clear()
      try await ErrorsAndRetriesArticle.run(client, print)
      try await LargeRangesArticle.run(client, print)
      #expect(print.lines.suffix(3) == ["log/0", "log/1", "log/2"])
      print.clear()
      try await EndpointsArticle.run(endpoints, print)
      #expect(print.lines.count == 1)
      try await ObservabilityArticle.run(endpoints)
    }
  }

  @Test(arguments: ServerKind.single)
  func examplesOfSecurityRun(server: ServerKind) async throws {
    let files = try TLSFolder()
    try await files.run(server, requiresCertificate: true) { target in
      try await SecurityArticle.connect(
        ["https://\(target)"],
        authorities: files.path("ca.pem"),
        certificate: files.path("alice.pem"),
        key: files.path("alice.key")
      )
    }
    try await server.run { target in
      try await withClient([target]) { client in
        try await client.auth.addUser("root", password: "secret")
        try await client.auth.grantRole("root", to: "root")
        try await client.auth.enable()
      }
      try await SecurityArticle.authenticate([target])
    }
  }
}

/// What the examples print.
final class Printer: Sendable {
  private let printed = Mutex<[String]>([])

  var lines: [String] { printed.withLock { $0 } }

  func clear() {
    printed.withLock { $0 = [] }
  }

  func callAsFunction(_ items: Any...) {
    let line = items.map { "\($0)" }.joined(separator: " ")
    printed.withLock { $0.append(line) }
  }
}
