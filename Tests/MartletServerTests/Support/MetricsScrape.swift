import Testing

/// One look at /metrics: types by name, and values by line (`name{labels}`).
struct MetricsScrape {
  private(set) var types: [String: String] = [:]
  private(set) var helps: Set<String> = []
  private(set) var values: [String: Double] = [:]

  static func of(_ member: TestMember) async throws -> MetricsScrape {
    let page = try await HTTPExchange.get("/metrics", port: member.port)
    #expect(page.status == 200)
    #expect(page.head.contains("text/plain; version=0.0.4"))
    var scrape = MetricsScrape()
    for line in page.body.split(separator: "\n").map(String.init) {
      let words = line.split(separator: " ", maxSplits: 3).map(String.init)
      if line.hasPrefix("# TYPE ") {
        #expect(scrape.types.updateValue(words[3], forKey: words[2]) == nil, "\(line)")
      } else if line.hasPrefix("# HELP ") {
        #expect(words.count == 4 && scrape.helps.insert(words[2]).inserted, "\(line)")
      } else {
        let place = try #require(line.lastIndex(of: " "))
        let value = try #require(Double(line[line.index(after: place)...]), "\(line)")
        #expect(scrape.values.updateValue(value, forKey: String(line[..<place])) == nil, "\(line)")
      }
    }
    return scrape
  }

  /// How much each line of `earlier` and this one differ; lines that are new count from 0.
  func growth(since earlier: MetricsScrape) -> [String: Double] {
    var growth: [String: Double] = [:]
    for (line, value) in values {
      let difference = value - (earlier.values[line] ?? 0)
      if difference != 0 { growth[line] = difference }
    }
    return growth
  }

  /// The lines of one metric: the sets of labels that it has.
  func labels(of name: String) -> [Set<String>] {
    values.keys.compactMap { line in
      guard line == name || line.hasPrefix("\(name){") else { return nil }
      return Set(
        line.dropFirst(name.count + 1).dropLast().split(separator: ",").compactMap {
          $0.split(separator: "=").first.map(String.init)
        }
      )
    }
  }
}
