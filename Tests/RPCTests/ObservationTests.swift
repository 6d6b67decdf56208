import NIOCore
import RPC
import Synchronization
import Testing

/// What a loop tells of the calls that end.
@Suite struct ObservationTests {
  private final class Notes: Sendable {
    let slow = Mutex<[EndedCall]>([])
    let ended = Mutex<[String: RPCCode]>([:])
  }

  private final class NoteTracer: CallTracer {
    private final class Span {
      let name: String
      init(_ name: String) { self.name = name }
    }

    let notes: Notes
    init(_ notes: Notes) { self.notes = notes }

    func callStarted(_ call: ServerCall, _ method: MethodInfo) -> AnyObject {
      Span("\(method.path) \(call.header(named: "traceparent") ?? "none")")
    }

    func callEnded(_ span: AnyObject, _ code: RPCCode) {
      guard let span = span as? Span else { return }
      notes.ended.withLock { ended in
        #expect(ended[span.name] == nil)
        ended[span.name] = code
      }
    }
  }

  private static func observing(
    _ notes: Notes,
    _ change: @escaping @Sendable (inout CallObservation) -> Void
  ) -> SetUp {
    { loop, _ in
      var observation = CallObservation()
      observation.onSlowCall = { call in notes.slow.withLock { $0.append(call) } }
      change(&observation)
      loop.observe(observation)
    }
  }

  @Test func slowCallsAreTold() async throws {
    let notes = Notes()
    let setUp = Self.observing(notes) { $0.slowCallNanoseconds = 0 }
    try await withServer(setUp: setUp) { fixture in
      let _: Blob = try await fixture.client.unary(Echo.unary, Blob([1, 2, 3]))
      await #expect(throws: RPCError.self) {
        let _: Blob = try await fixture.client.unary(Echo.fail, Blob([5] + Array("no".utf8)))
      }
      let stream: ResponseStream<Blob> = try await fixture.client.serverStreaming(
        Echo.expand,
        Blob([3])
      )
      for try await _ in stream {}
      let calls = notes.slow.withLock { $0 }
      #expect(calls.map(\.method.path) == [Echo.unary.path, Echo.fail.path])
      #expect(calls.map(\.code) == [.ok, .notFound])
      #expect(calls.map(\.requestBytes) == [3, 3])
      #expect(calls.map(\.responseBytes) == [8, 0])
      #expect(calls.allSatisfy { $0.peer.hasPrefix("127.0.0.1:") })
    }
  }

  @Test func aCallThatOutlastsTheBoundIsTold() async throws {
    let notes = Notes()
    let setUp = Self.observing(notes) { $0.slowCallNanoseconds = 20_000_000 }
    try await withServer(setUp: setUp) { fixture in
      try await cancelHangingCall(fixture, after: .milliseconds(20), CallOptions())
      let told = notes.slow.withLock { $0 }
      #expect(told.count == 1)
      #expect(told.first?.method.path == Echo.hang.path)
      #expect(told.first?.code == .canceled)
      #expect(told.allSatisfy { $0.nanoseconds >= 20_000_000 })
    }
  }

  /// Begins a call that nobody answers, and takes it back once the server has had it for so long.
  private func cancelHangingCall(
    _ fixture: Fixture,
    after pause: Duration,
    _ options: CallOptions
  ) async throws {
    let call = Task {
      let _: Blob = try await fixture.client.unary(Echo.hang, Blob("?"), options: options)
    }
    await fixture.log.wait(for: "hanging")
    try await Task.sleep(for: pause)
    call.cancel()
    _ = await call.result
    await fixture.log.wait(for: "canceled \(Echo.hang.path)")
    // The call ends in the turn of the loop that told the service.
    _ = await fixture.server.counters()
  }

  @Test func quickCallsAreNot() async throws {
    let notes = Notes()
    let setUp = Self.observing(notes) { $0.slowCallNanoseconds = 3_600_000_000_000 }
    try await withServer(setUp: setUp) { fixture in
      let _: Blob = try await fixture.client.unary(Echo.unary, Blob("a"))
      let counters = await fixture.server.counters()
      #expect(notes.slow.withLock { $0.isEmpty })
      #expect(counters.methods.allSatisfy { $0.latency == nil })
    }
  }

  @Test func latencyIsKeptByMethod() async throws {
    let notes = Notes()
    let setUp = Self.observing(notes) { $0.measuresLatency = true }
    try await withServer(setUp: setUp) { fixture in
      for _ in 0..<20 { let _: Blob = try await fixture.client.unary(Echo.unary, Blob("a")) }
      let counters = await fixture.server.counters()
      for method in counters.methods {
        let latency = try #require(method.latency)
        #expect(latency.counts.reduce(0, +) == method.handled.reduce(0, +), "\(method.path)")
        #expect((latency.nanoseconds > 0) == (method.path == Echo.unary.path))
      }
    }
  }

  @Test func everyCallHasOneSpan() async throws {
    let notes = Notes()
    let setUp = Self.observing(notes) { $0.tracer = NoteTracer(notes) }
    try await withServer(setUp: setUp) { fixture in
      func options(_ parent: String) -> CallOptions {
        CallOptions(metadata: [("traceparent", parent)])
      }
      let _: Blob = try await fixture.client.unary(Echo.unary, Blob("a"), options: options("p1"))
      await #expect(throws: RPCError.self) {
        let _: Blob = try await fixture.client.unary(
          Echo.fail,
          Blob([9]),
          options: options("p2")
        )
      }
      try await cancelHangingCall(fixture, after: .zero, options("p3"))
      let ended = notes.ended.withLock { $0 }
      #expect(
        ended == [
          "\(Echo.unary.path) p1": .ok, "\(Echo.fail.path) p2": .failedPrecondition,
          "\(Echo.hang.path) p3": .canceled,
        ]
      )
    }
  }

  @Test func callsAreCountedByTheClientsVersion() async throws {
    try await withServer { fixture in
      func call(_ version: String?) async throws {
        let _: Blob = try await fixture.client.unary(
          Echo.unary,
          Blob("a"),
          options: CallOptions(metadata: version.map { [("client-api-version", $0)] } ?? [])
        )
      }
      for version in [nil, "3.5.21", "3.5.21", "3.6", "not a version", "x\"}\\"] {
        try await call(version)
      }
      let few = await clients(of: fixture)
      #expect(few == ["unknown": 3, "3.5.21": 2, "3.6": 1])
      for number in 0..<100 { try await call("9.\(number)") }
      let many = await clients(of: fixture)
      #expect(many.values.reduce(0, +) == 106)
      #expect(many.count <= 17 * fixture.server.loops.count)
      #expect((many["other"] ?? 0) > 0)
    }
  }

  private func clients(of fixture: Fixture) async -> [String: UInt64] {
    let clients = await fixture.server.counters().clients
    return Dictionary(uniqueKeysWithValues: clients.map { ($0.version, $0.unaryCalls) })
  }
}
