import InMemoryTracing
import MartletClient
import MetricsTestKit
import Testing

/// The examples of `Observability.md`, between the marks.
enum ObservabilityArticle {
  static func run(_ endpoints: [String]) async throws {
    let metrics = TestMetrics()
    let tracer = InMemoryTracer()

    // begin
    var configuration = ClientConfiguration(endpoints: endpoints)
    configuration.metricsFactory = metrics
    configuration.tracer = tracer
    let client = try Client(configuration)
    // end

    try await client.kv.put("observed", "1")
    await client.close()
    #expect(metrics.counterTotal(label: "martlet_client_calls_total") == 1)
    #expect(tracer.finishedSpans.count == 1)
  }
}
