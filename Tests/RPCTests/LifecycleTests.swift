import Base
import NIOCore
import NIOPosix
import Proto
import RPC
import Testing

/// Deadlines, cancellation, back-pressure, stale ids and the end of servers.
@Suite struct LifecycleTests {
  @Test func deadlineEndsTheCallOnBothSides() async throws {
    try await withServer { fixture in
      let raw = try await fixture.makeRaw()
      let answer = await raw.call(
        RawClient.headers(Echo.hang.path, ["grpc-timeout": "500m"]),
        [RawClient.frame([1])]
      )
      #expect(answer.status == "4")
      #expect(answer.isTrailersOnly)
      await fixture.log.wait(for: "canceled /test.Echo/Hang")
      await raw.close()
      let counters = await fixture.server.counters()
      #expect(counters.methods.first { $0.path == Echo.hang.path }?.handled[4] == 1)
    }
  }

  @Test func manyDeadlinesAtOnce() async throws {
    try await withServer { fixture in
      let raw = try await fixture.makeRaw()
      await withTaskGroup(of: String?.self) { group in
        for number in 0..<100 {
          group.addTask {
            await raw.call(
              RawClient.headers(Echo.hang.path, ["grpc-timeout": "\(20 + number % 30)m"]),
              [RawClient.frame([1])]
            ).status
          }
        }
        for await status in group { #expect(status == "4") }
      }
      // The service heard of each end before the client did. (On a slow machine a deadline can pass
      // before its message has arrived; of such a call the service never hears.)
      let events = fixture.log.events
      #expect(
        events.count { $0 == "hanging" } == events.count { $0 == "canceled /test.Echo/Hang" }
      )
      await raw.close()
    }
  }

  @Test func clientDeadline() async throws {
    try await withServer { fixture in
      // Connecting counts too: have that done before the short deadline begins.
      let _: Blob = try await fixture.client.unary(Echo.unary, Blob("first"))
      let error = try await #require(throws: RPCError.self) {
        let _: Blob = try await fixture.client.unary(
          Echo.hang,
          Blob("x"),
          options: CallOptions(timeout: .milliseconds(50))
        )
      }
      #expect(error.code == .deadlineExceeded)
      #expect(error.mayHaveBeenProcessed)
    }
  }

  @Test func cancelingTheTaskCancelsTheCall() async throws {
    try await withServer { fixture in
      let task = Task { () -> Blob in try await fixture.client.unary(Echo.hang, Blob("x")) }
      await fixture.log.wait(for: "hanging")
      task.cancel()
      let error = await #expect(throws: RPCError.self) { try await task.value }
      #expect(error?.code == .canceled)
      await fixture.log.wait(for: "canceled /test.Echo/Hang")
    }
  }

  @Test func droppingAStreamCancelsTheCall() async throws {
    try await withServer { fixture in
      do {
        let call: StreamingCall<Blob, Blob> = try await fixture.client.bidirectional(Echo.chat)
        await call.send(Blob("hello"))
        var responses = call.responses.makeAsyncIterator()
        let echoed = try await responses.next()?.text
        #expect(echoed == "hello")
      }
      await fixture.log.wait(for: "canceled /test.Echo/Chat")
    }
  }

  @Test func losingTheConnectionCancelsItsCalls() async throws {
    try await withServer { fixture in
      let client = fixture.makeClient()
      let task = Task { () -> Blob in try await client.unary(Echo.hang, Blob("x")) }
      await fixture.log.wait(for: "hanging")
      await client.shutdown()
      let error = await #expect(throws: RPCError.self) { try await task.value }
      #expect(error?.code == .unavailable)
      #expect(error?.mayHaveBeenProcessed == true)
      await fixture.log.wait(for: "canceled /test.Echo/Hang")
    }
  }

  /// A client that does not read holds the sender back: what is buffered stays bounded.
  @Test func slowReaderHoldsTheServerBack() async throws {
    try await withServer { fixture in
      var configuration = RPCClientConfiguration()
      configuration.inputBufferedBytesMax = 64 << 10
      let client = fixture.makeClient(configuration)
      let stream: ResponseStream<Blob> = try await client.serverStreaming(Echo.flood, Blob())
      await fixture.log.wait(for: "flood stopped")
      var iterator = stream.makeAsyncIterator()
      // Read more than all buffers on the way can hold: it must go on.
      var readBytes = 0
      while readBytes < 32 << 20 {
        readBytes += try await iterator.next()?.bytes.count ?? 0
      }
      stream.cancel()
      await fixture.log.wait(for: "canceled /test.Echo/Flood")
      await client.shutdown()
    }
  }

  @Test func bufferOfAStalledStreamIsBounded() async throws {
    let stalled = EventLog()
    let setUp: SetUp = { loop, service in
      loop.register(StallDispatcher(log: stalled, service: service))
    }
    try await withServer(setUp: setUp) { fixture in
      let client = fixture.makeClient()
      let stream: ResponseStream<Blob> = try await client.serverStreaming(
        StallDispatcher.path,
        Blob()
      )
      await stalled.wait(for: "stalled")
      // The client's window is 1 MiB and the server's buffer 256 KiB; a message is 32 KiB.
      let sent = stalled.events.compactMap { Int($0) }.last ?? 0
      let bufferBytes = 256 << 10
      let windowBytes = 1 << 20
      let socketBytes = 512 << 10
      #expect(sent >= bufferBytes)
      let sentMax: Int = bufferBytes + windowBytes + socketBytes
      #expect(sent <= sentMax)
      stream.cancel()
      await client.shutdown()
    }
  }

  @Test func staleIdHasNoEffect() async throws {
    let ids = EventLog()
    let setUp: SetUp = { loop, _ in
      loop.register(StaleDispatcher(state: StaleDispatcher.State(log: ids)))
    }
    try await withServer(setUp: setUp) { fixture in
      let raw = try await fixture.makeRaw()
      // Each call tries to answer all the calls before it, on the same loop and slot.
      for number in 0..<5 {
        let answer = await raw.call(
          RawClient.headers(StaleDispatcher.path.path),
          [RawClient.frame([UInt8(number)])]
        )
        #expect(answer.body == RawClient.frame([UInt8(number)]))
      }
      await raw.close()
      #expect(ids.events.allSatisfy { $0 == "stale" })
      // 0 + 1 + 2 + 3 + 4.
      #expect(ids.events.count == 10)
    }
  }

  @Test func answersFromAnotherThread() async throws {
    let setUp: SetUp = { loop, _ in loop.register(LaterDispatcher(loop: loop)) }
    try await withServer(setUp: setUp) { fixture in
      try await withThrowingTaskGroup(of: Void.self) { group in
        for number in 0..<100 {
          group.addTask {
            let response: Blob = try await fixture.client.unary(
              LaterDispatcher.path,
              Blob("\(number)")
            )
            #expect(response.text == "later")
          }
        }
        try await group.waitForAll()
      }
    }
  }

  @Test func drainLetsCallsEnd() async throws {
    try await withServer { fixture in
      let call: StreamingCall<Blob, Blob> = try await fixture.client.bidirectional(Echo.chat)
      var responses = call.responses.makeAsyncIterator()
      await call.send(Blob("before"))
      let before = try await responses.next()?.text
      #expect(before == "before")
      async let drained: Void = fixture.server.drain(timeout: .seconds(30))
      // New calls are refused sooner or later; the old one goes on.
      var isRefused = false
      while !isRefused {
        do {
          let _: Blob = try await fixture.client.unary(Echo.unary, Blob("new"))
        } catch {
          #expect((error as? RPCError)?.mayHaveBeenProcessed == false)
          isRefused = true
        }
      }
      await call.send(Blob("after"))
      let after = try await responses.next()?.text
      #expect(after == "after")
      call.finishSending()
      let last = try await responses.next()
      #expect(last == nil)
      await drained
    }
  }

  @Test func drainClosesWhatDoesNotEnd() async throws {
    try await withServer { fixture in
      let task = Task { () -> Blob in try await fixture.client.unary(Echo.hang, Blob("x")) }
      await fixture.log.wait(for: "hanging")
      await fixture.server.drain(timeout: .milliseconds(50))
      let error = await #expect(throws: RPCError.self) { try await task.value }
      #expect(error?.code == .unavailable)
      #expect(error?.mayHaveBeenProcessed == true)
      await fixture.log.wait(for: "canceled /test.Echo/Hang")
    }
  }

  /// The connection outlives the client while a call runs, and no longer.
  @Test(.timeLimit(.minutes(10)))
  func aClientThatIsLetGoEndsItsCallsFirst() async throws {
    try await withServer { fixture in
      var client: RPCClient? = fixture.makeClient()
      weak let released = client
      let call: StreamingCall<Blob, Blob> = try await #require(client).bidirectional(Echo.chat)
      var responses = call.responses.makeAsyncIterator()
      await call.send(Blob("before"))
      let before = try await responses.next()?.text
      #expect(before == "before")
      client = nil
      #expect(released == nil)
      await call.send(Blob("after"))
      let after = try await responses.next()?.text
      #expect(after == "after")
      #expect(await fixture.server.counters().connections == 1)
      call.finishSending()
      let last = try await responses.next()
      #expect(last == nil)
      while await fixture.server.counters().connections > 0 { await Task.yield() }
    }
  }

  /// Nobody holds the delegates but their connections, when the event loops end under them.
  @Test(.timeLimit(.minutes(10)))
  func connectionsKeepTheirDelegates() async throws {
    try await withServer { fixture in
      let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
      let heard = EventLog()
      let count = 20
      for _ in 0..<count {
        let connection = try await ClientLoopConnection.connect(
          to: fixture.address,
          on: group.next(),
          delegate: LastHearing(log: heard)
        ).get()
        try await group.next().submit {
          let headers = RequestHeaders.block(path: Echo.chat.path, authority: "test")
          let call = try #require(connection.start(headers: headers, token: 7))
          [UInt8](repeating: 1, count: 3).withUnsafeBytes { connection.send(call, $0) }
          connection.flush()
        }.get()
      }
      await heard.wait(for: "received 7", count: count)
      try await group.shutdownGracefully()
      #expect(heard.events.count { $0 == "closed" } == count)
      // Closed connections let go of them.
      #expect(heard.events.count { $0 == "released" } == count)
    }
  }

  @Test func connectionsAreBounded() async throws {
    var configuration = RPCServerConfiguration()
    configuration.connectionsMax = 1
    try await withServer(configuration) { fixture in
      let _: Blob = try await fixture.client.unary(Echo.unary, Blob("one"))
      let second = fixture.makeClient()
      let error = await #expect(throws: RPCError.self) {
        let _: Blob = try await second.unary(Echo.unary, Blob("two"))
      }
      #expect(error?.code == .unavailable)
      await second.shutdown()
      let _: Blob = try await fixture.client.unary(Echo.unary, Blob("three"))
    }
  }
}

/// Notes what a connection tells it, and its own end.
final class LastHearing: ClientCallDelegate, Sendable {
  private let log: EventLog

  init(log: EventLog) {
    self.log = log
  }

  deinit {
    log.add("released")
  }

  func callReceived(_ token: Int, _ message: UnsafeRawBufferPointer) {
    log.add("received \(token)")
  }

  func callEnded(_ token: Int, _ end: CallEnd) {}

  func connectionClosed() {
    log.add("closed")
  }
}

/// Sends until the stream is not writable, and says how much that was.
struct StallDispatcher: ServiceDispatcher {
  let log: EventLog
  let service: EchoService

  static let path = MethodPath("/test.Stall/Stall")
  static let methods = [
    MethodInfo(path: path.path, requestStreaming: false, responseStreaming: true)
  ]

  func start(_ method: Int, _ call: ServerCall) {}

  func receive(
    _ method: Int,
    _ message: UnsafeRawBufferPointer,
    _ call: ServerCall,
    _ arena: Arena
  ) {
    service.floodBytes = 0
    fill(call, quietRounds: 0)
  }

  /// Stalled means: not writable, and still not after the loop went round many times.
  private func fill(_ call: ServerCall, quietRounds: Int) {
    var quiet = quietRounds + 1
    while call.isWritable {
      quiet = 0
      service.floodBytes += EchoService.floodMessageBytes
      call.send { writer in
        for _ in 0..<EchoService.floodMessageBytes / 8 { writer.append(integer: UInt64(0)) }
      }
    }
    if quiet == 200 {
      log.add("\(service.floodBytes)")
      log.add("stalled")
      return
    }
    let id = call.id
    let loop = call.loop
    loop.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(1)) {
      if let call = loop.call(id) { fill(call, quietRounds: quiet) }
    }
  }

  func halfClose(_ method: Int, _ call: ServerCall) {}
  func cancel(_ method: Int, _ call: ServerCall) {}
}

/// Echoes, after it has tried to answer all earlier calls once more.
struct StaleDispatcher: ServiceDispatcher {
  final class State {
    let log: EventLog
    var ids: [CallID] = []

    init(log: EventLog) {
      self.log = log
    }
  }

  let state: State

  static let path = MethodPath("/test.Stale/Echo")
  static let methods = [
    MethodInfo(path: path.path, requestStreaming: false, responseStreaming: false)
  ]

  func start(_ method: Int, _ call: ServerCall) {}

  func receive(
    _ method: Int,
    _ message: UnsafeRawBufferPointer,
    _ call: ServerCall,
    _ arena: Arena
  ) {
    for id in state.ids {
      state.log.add(call.loop.call(id) == nil && id != call.id ? "stale" : "alive")
      // A handle from that time is as stale as its id.
      let raw = CallID(rawValue: id.rawValue)
      #expect(raw == id)
      #expect(id.rawValue >> 44 == 0)
      call.loop.call(raw)?.finish(.internal("stale"))
    }
    state.ids.append(call.id)
    call.respond { $0.append(message) }
    #expect(!call.isActive)
    call.respond { $0.append(byte: 99) }
    call.finish(.internal("twice"))
  }

  func halfClose(_ method: Int, _ call: ServerCall) {}
  func cancel(_ method: Int, _ call: ServerCall) {}
}

/// Answers from another thread, by way of the call's id.
struct LaterDispatcher: ServiceDispatcher {
  let loop: RPCServerLoop

  static let path = MethodPath("/test.Later/Answer")
  static let methods = [
    MethodInfo(path: path.path, requestStreaming: false, responseStreaming: false)
  ]

  func start(_ method: Int, _ call: ServerCall) {}

  func receive(
    _ method: Int,
    _ message: UnsafeRawBufferPointer,
    _ call: ServerCall,
    _ arena: Arena
  ) {
    let id = call.id
    let loop = loop
    Task.detached {
      loop.eventLoop.execute {
        loop.call(id)?.respond { writer in
          for byte in "later".utf8 { writer.append(byte: byte) }
        }
        loop.flush()
      }
    }
  }

  func halfClose(_ method: Int, _ call: ServerCall) {}
  func cancel(_ method: Int, _ call: ServerCall) {}
}
