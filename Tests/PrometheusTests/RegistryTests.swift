import CoreMetrics
import Prometheus
import Testing

@Suite("Registry and text format")
struct RegistryTests {
  private let registry = MetricsRegistry()
  private var factory: PrometheusFactory { PrometheusFactory(registry) }

  private func page() async throws -> [String: TextFormat.Family] {
    try TextFormat(Exposition.text(await registry.gather())).families
  }

  @Test("every instrument of swift-metrics shows with its type and value")
  func instruments() async throws {
    let counter = Counter(label: "a.counter", dimensions: [("to", "x")], factory: factory)
    counter.increment(by: 3)
    counter.increment()
    FloatingPointCounter(label: "a_sum", factory: factory).increment(by: 1.25)
    let meter = Meter(label: "a_meter", factory: factory)
    meter.set(5)
    meter.decrement(by: 0.5)
    Gauge(label: "a_gauge", factory: factory).record(-2)
    let timer = Timer(label: "a_seconds", factory: factory)
    timer.recordNanoseconds(30_000_000)
    timer.recordNanoseconds(20_000_000_000)
    let families = try await page()
    #expect(families["a_counter"]?.type == "counter")
    #expect(
      families["a_counter"]?.samples
        == [TextFormat.Sample(name: "a_counter", labels: ["to": "x"], value: 4)]
    )
    #expect(families["a_sum"]?.type == "counter")
    #expect(families["a_sum"]?.samples.map(\.value) == [1.25])
    #expect(families["a_meter"]?.type == "gauge")
    #expect(families["a_meter"]?.samples.map(\.value) == [4.5])
    #expect(families["a_gauge"]?.samples.map(\.value) == [-2])
    let seconds = try #require(families["a_seconds"])
    #expect(seconds.type == "histogram")
    let bucket = seconds.samples.first { $0.labels["le"] == "0.05" }
    #expect(bucket?.value == 1)
    #expect(seconds.samples.first { $0.name == "a_seconds_count" }?.value == 2)
    #expect(seconds.samples.first { $0.name == "a_seconds_sum" }?.value == 20.03)
  }

  @Test("help, label values and odd names are written so that a reader gets them back")
  func escaping() async throws {
    let nasty = "a\\b\"c\nd\u{1f426}"
    registry.define([MetricDefinition("odd", .gauge, "line\nback\\slash \"q\"")])
    registry.gauge("odd", [MetricLabel("l", nasty)]).set(1.5)
    let family = try #require(try await page()["odd"])
    #expect(family.help == "line\nback\\slash \"q\"")
    #expect(family.samples.map(\.labels) == [["l": nasty]])
    Counter(label: "7 w\u{f6}rter-zahl", dimensions: [("le", "1"), ("a b", "2")], factory: factory)
      .increment()
    #expect(try await page()["_7_w_rter_zahl"]?.samples.first?.labels == ["_le": "1", "a_b": "2"])
  }

  @Test("a value on a bound lies in its bucket, one above in the next")
  func buckets() async throws {
    let cell = registry.histogram("h", bounds: [1, 2, 4])
    for value in [1, 1.000001, 4, 4.1, .nan, .infinity] { cell.observe(value) }
    cell.observe(2, count: 10)
    #expect(cell.snapshot.cumulative == [1, 12, 13, 14])
    let families = try await page()
    #expect(families["h"]?.samples.count == 6)
  }

  @Test(
    "numbers and bounds are spelled as Go does",
    arguments: [
      (0.001, "0.001"), (8.192, "8.192"), (1, "1"), (819_200, "819200"), (1e6, "1e+06"),
      (1_048_576, "1.048576e+06"), (8_388_608, "8.388608e+06"), (655.36, "655.36"), (0, "0"),
    ]
  )
  func bounds(bound: Double, text: String) {
    let snapshot = HistogramSnapshot(bounds: [bound], counts: [0, 0], sum: 0)
    let definition = MetricDefinition("h", .histogram, "", bounds: [bound])
    let page = Exposition.text([MetricFamily(definition, [MetricSample(.histogram(snapshot))])])
    #expect(page.contains(#"h_bucket{le="\#(text)"} 0"#), "\(page)")
  }

  @Test("labels without end share one cell beyond the bound")
  func cardinality() async throws {
    for number in 0..<(MetricsRegistry.cellsPerMetricMax + 500) {
      registry.counter("c", [MetricLabel("key", "\(number)")]).increment(by: 1)
    }
    let samples = try #require(try await page()["c"]).samples
    #expect(samples.count == MetricsRegistry.cellsPerMetricMax + 1)
    #expect(samples.first { $0.labels == ["overflow": "true"] }?.value == 500)
  }

  @Test("names without end are counted and not shown")
  func names() async throws {
    for number in 0..<(MetricsRegistry.metricsMax + 50) {
      registry.counter("c\(number)").increment(by: 1)
    }
    #expect(try await page().count == MetricsRegistry.metricsMax)
  }

  @Test("one name keeps one type, and a destroyed instrument starts anew")
  func conflicts() async throws {
    let counter = Counter(label: "x", factory: factory)
    counter.increment()
    Gauge(label: "x", factory: factory).record(9)
    let families = try await page()
    #expect(families["x"]?.type == "counter")
    #expect(families["x"]?.samples.map(\.value) == [1])
    counter.destroy()
    #expect(try await page()["x"] == nil)
    Counter(label: "x", factory: factory).increment(by: 2)
    #expect(try await page()["x"]?.samples.map(\.value) == [2])
  }

  @Test("collectors are asked at each scrape and joined with what is there")
  func collectors() async throws {
    registry.counter("c", [MetricLabel("of", "cell")]).increment(by: 1)
    let definition = MetricDefinition("c", .counter, "help")
    registry.addCollector {
      [
        MetricFamily(
          definition,
          [
            MetricSample(.number(7), [MetricLabel("of", "collector")]),
            MetricSample(.number(8), [MetricLabel("of", "cell")]),
          ]
        ),
        MetricFamily(MetricDefinition("c", .gauge, ""), 3),
        MetricFamily(MetricDefinition("z", .gauge, ""), 4),
      ]
    }
    let families = try await page()
    #expect(families["c"]?.samples.map(\.value).sorted() == [1, 7])
    #expect(families["z"]?.samples.map(\.value) == [4])
  }

  @Test("what many threads add at once adds up")
  func threads() async throws {
    let (counter, sum) = (registry.counter("n"), registry.sum("s"))
    let histogram = registry.histogram("h", bounds: [10])
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<8 {
        group.addTask {
          for _ in 0..<5000 {
            counter.increment(by: 2)
            sum.increment(by: 0.5)
            histogram.observe(1)
          }
        }
      }
    }
    #expect(counter.value == 80_000)
    #expect(sum.value == 20_000)
    #expect(histogram.snapshot.sum == 40_000)
    #expect(histogram.snapshot.cumulative == [40_000, 40_000])
  }
}

@Suite("The tests' reader of the format")
struct TextFormatTests {
  @Test(
    "it refuses what is malformed",
    arguments: [
      "a 1\n", "# TYPE a counter\na 1", "# TYPE a counter\n# TYPE a counter\n",
      "# TYPE a thing\n", "# TYPE a counter\na 1\na 2\n", "# TYPE a counter\nb 1\n",
      "# TYPE a counter\na{x=1} 1\n", "# TYPE a counter\na{x=\"\\q\"} 1\n",
      "# TYPE a counter\na{1=\"\"} 1\n", "# TYPE a counter\na nan\n",
      "# TYPE a histogram\na_bucket{le=\"1\"} 1\na_sum 1\na_count 1\n",
      "# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n",
      "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 2\n",
    ]
  )
  func refuses(text: String) {
    #expect(throws: TextFormat.Violation.self) { try TextFormat(text) }
  }
}
