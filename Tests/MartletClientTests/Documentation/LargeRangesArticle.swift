import MartletClient
import Testing

/// The examples of `LargeRanges.md`, between the marks.
enum LargeRangesArticle {
  static func run(_ client: Client, _ print: Printer) async throws {
    for number in 0..<3 { try await client.kv.put("log/\(number)", "") }

    // begin
    var keyCount = 0
    for try await page in client.kv.pages(.prefix("log/"), pageKeyCount: 500) {
      keyCount += page.keyValues.count
    }
    // end

    #expect(keyCount == 3)

    // begin
    for try await keyValue in client.kv.stream(.prefix("log/"), RangeOptions(keysOnly: true)) {
      print(keyValue.keyText)
    }
    // end

    // begin
    let tenant = client.namespace("tenant/acme/")
    try await tenant.kv.put("theme", "dark")
    let everything = try await tenant.kv.range(.all)
    // end

    #expect(everything.keyValues.map(\.keyText) == ["theme"])
  }
}
