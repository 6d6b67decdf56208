import InMemoryTracing
import MartletClient
import MetricsTestKit
import Testing
import Tracing

/// What a program's metrics and tracing are told.
@Suite struct TelemetryTests {
  @Test func callsAreCountedAndTimed() async throws {
    let metrics = TestMetrics()
    try await withMember { _, target in
      try await withClient([target], \.metricsFactory, metrics) { client in
        for _ in 0..<3 { try await client.kv.put("a", "1") }
        _ = try await client.kv.get("a")
        await expectFailure(.keyNotFound) { try await client.kv.update("missing", "1") }
      }
    }
    let calls = "martlet_client_calls_total"
    func total(_ method: String, _ code: String) -> Int64 {
      metrics.counterTotal(label: calls, dimensions: [("method", method), ("code", code)])
    }
    #expect(total("etcdserverpb.KV/Put", "ok") == 3)
    #expect(total("etcdserverpb.KV/Put", "keyNotFound") == 1)
    #expect(total("etcdserverpb.KV/Range", "ok") == 1)
    let timer = try metrics.expectTimer(
      "martlet_client_call_duration",
      [("method", "etcdserverpb.KV/Put")]
    )
    #expect(timer.values.count == 4 && timer.values.allSatisfy { $0 > 0 })
  }

  @Test func retriesFailuresAndMovesAreCounted() async throws {
    let metrics = TestMetrics()
    try await withMember { _, target in
      try await withProxies(1, to: target) { proxies in
        let endpoints = [FailoverTests.dead[0], proxies[0].address]
        try await withClient(endpoints, \.metricsFactory, metrics) { client in
          for _ in 0..<4 { try await client.kv.put("a", "1") }
          let watch = try await client.watch("a")
          proxies[0].cut()
          // The connection that was cut may have taken the first.
          try await eventually { (try? await client.kv.put("a", "2")) != nil }
          var events = watch.makeAsyncIterator()
          #expect(try await events.next()?.keyValue.text == "2")
        }
      }
    }
    #expect(metrics.counterTotal(label: "martlet_client_retries_total") >= 1)
    #expect(metrics.counterTotal(label: "martlet_client_endpoint_failures_total") >= 1)
    #expect(metrics.counterTotal(label: "martlet_client_watch_moves_total") >= 1)
  }

  /// A span of the caller has a span for each call below it, and the server gets to know it.
  @Test func callsMakeSpansThatTheServerCanContinue() async throws {
    let tracer = InMemoryTracer()
    try await withMember { _, target in
      try await withClient([target], \.tracer, tracer) { client in
        try await tracer.withSpan("work") { _ in
          try await client.kv.put("a", "1")
          await expectFailure(.keyNotFound) { try await client.kv.update("missing", "1") }
        }
      }
    }
    let spans = tracer.finishedSpans
    #expect(spans.map(\.operationName) == ["etcdserverpb.KV/Put", "etcdserverpb.KV/Put", "work"])
    let parent = try #require(spans.last)
    for span in spans.dropLast() {
      #expect(span.traceID == parent.traceID && span.parentSpanID == parent.spanID)
      #expect(span.kind == .client)
    }
    #expect(spans[0].status == nil)
    #expect(spans[1].status?.code == .error)
    #expect(spans[1].attributes.get("error.type") == .string("keyNotFound"))
    #expect(spans[1].attributes.get("martlet.outcome") == .string("refused"))
    let sent = tracer.performedContextInjections.map { $0.values[InMemoryTracer.spanIDKey] }
    #expect(sent == [spans[0].spanID, spans[1].spanID])
  }
}
