import Base
import InMemoryTracing
import Logging
import MartletServer
import Proto
import RPC
import Testing
import Tracing

@Suite("Slow requests, levels and traces of a running member")
struct SlowRequestTests {
  @Test("a slow request is logged with its method, time and sizes, and without what is in it")
  func slowRequests() async throws {
    let lines = LogLines()
    try await withMember(\.warningUnaryRequestDuration, .zero, logger: lines.logger) {
      member in
      _ = try await member.kv.put(.init("top-secret-key", "top-secret-value"))
      let line = try #require(lines.containing("slow request").first)
      #expect(line.hasPrefix("warning slow request code=OK method=/etcdserverpb.KV/Put remote="))
      #expect(line.contains("remote=127.0.0.1:"))
      #expect(line.contains("request size=34"))
      #expect(line.contains("response size="))
      #expect(line.contains("time spent="))
      #expect(lines.containing("top-secret").isEmpty)
    }
  }

  @Test("usual requests are not logged, and many slow ones only in part")
  func rate() async throws {
    let (quiet, loud) = (LogLines(), LogLines())
    try await withMember(\.warningUnaryRequestDuration, .seconds(3600), logger: quiet.logger) {
      _ = try await $0.kv.put(.init("k", "v"))
    }
    #expect(quiet.containing("slow request").isEmpty)
    let clock = ContinuousClock()
    let start = clock.now
    try await withMember(\.warningUnaryRequestDuration, .zero, logger: loud.logger) {
      member in
      for _ in 0..<300 { _ = try await member.kv.put(.init("k", "v")) }
    }
    let seconds = Int((clock.now - start).components.seconds) + 1
    let count = loud.containing("slow request").count
    #expect(count >= 50)
    #expect(count <= 50 + 10 * seconds)
  }

  @Test("slow applies are counted and logged")
  func slowApplies() async throws {
    let lines = LogLines()
    try await withMember(\.warningApplyDuration, .zero, logger: lines.logger) { member in
      _ = try await member.kv.put(.init("top-secret-key", "top-secret-value"))
      let scrape = try await MetricsScrape.of(member)
      #expect((scrape.values["etcd_server_slow_apply_total"] ?? 0) >= 1)
      let line = try #require(lines.containing("operation=Put").first)
      #expect(
        line.hasPrefix("warning applying took long entries=1 expected=0s operation=Put took=")
      )
      #expect(lines.containing("top-secret").isEmpty)
    }
  }

  @Test("the start line says who serves what from where")
  func startLine() async throws {
    let lines = LogLines()
    try await withMember(\.quotaBackendBytes, 3 << 20, logger: lines.logger) { member in
      let line = try #require(lines.containing("serving clients").first)
      for part in [
        "name=default", "member=8e9e05c52164694d", "cluster=", "clients=127.0.0.1:\(member.port)",
        "advertised=http://localhost:2379", "data=", "tls=off", "quota=3 MiB", "martlet=",
        "etcd=3.6.0",
      ] {
        #expect(line.contains(part), "\(part) in \(line)")
      }
    }
  }

  @Test("the log's level can be read and set while the member runs")
  func level() async throws {
    let control = LogLevelControl(.info)
    try await withMember(levelControl: control) { member in
      func put(_ body: String) async throws -> HTTPExchange {
        try await HTTPExchange.get(
          "/config/local/log",
          port: member.port,
          method: "PUT",
          body: body
        )
      }
      let path = "/config/local/log"
      #expect(try await HTTPExchange.get(path, port: member.port).body == #"{"Level":"INFO"}"#)
      #expect(try await put(#"{"Level":"DEBUG"}"#).status == 204)
      #expect(control.level == .debug)
      #expect(try await put(#"{"Level":"warn"}"#).status == 204)
      #expect(control.level == .warning)
      let unknown = try await put(#"{"Level":"LOUD"}"#)
      #expect(unknown.status == 400)
      #expect(unknown.body == #"{"message":"Invalid log level LOUD"}"#)
      for body in ["", "{", "[]", #"{"Level":7}"#, #"{"level":"info"}"#] {
        #expect(try await put(body).status == 400, "\(body)")
      }
      #expect(control.level == .warning)
      let other = try await HTTPExchange.get(path, port: member.port, method: "DELETE")
      #expect(other.status == 405)
    }
    try await withMember { member in
      let none = try await HTTPExchange.get("/config/local/log", port: member.port)
      #expect(none.status == 404)
    }
  }

  @Test("calls make spans with a bootstrapped tracer, below the caller's")
  func traces() async throws {
    let tracer = InMemoryTracer()
    try await withTracer(tracer) {
      try await withMember(\.enableDistributedTracing, true) { member in
        _ = try await member.kv.put(.init("k", "v"))
        await expectFailure(.invalidArgument) { _ = try await member.kv.put(.init("", "")) }
        let spans = tracer.finishedSpans.filter { $0.operationName == "etcdserverpb.KV/Put" }
        #expect(spans.count == 2)
        #expect(spans.allSatisfy { $0.kind == .server })
        let codes = spans.map { $0.attributes.get("rpc.grpc.status_code") }
        #expect(codes == [.int64(0), .int64(3)])
        #expect(spans.first?.attributes.get("rpc.system") == .string("grpc"))
        #expect(spans.first?.attributes.get("rpc.method") == .string("Put"))
        #expect(tracer.performedContextExtractions.count >= 2)
      }
    }
    try await withTracer(tracer) {
      tracer.clearAll()
      try await withMember { member in _ = try await member.kv.put(.init("k", "v")) }
      #expect(tracer.finishedSpans.isEmpty)
    }
  }

  @Test("tracing without a tracer is said in the log and does nothing")
  func noTracer() async throws {
    let lines = LogLines()
    try await withMember(\.enableDistributedTracing, true, logger: lines.logger) { member in
      _ = try await member.kv.put(.init("k", "v"))
      #expect(lines.containing("--enable-distributed-tracing has no effect").count == 1)
    }
  }
}
