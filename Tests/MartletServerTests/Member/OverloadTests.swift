import Base
import HTTP2
import MartletServer
import NIOCore
import NIOPosix
import Proto
import RPC
import Testing

@Suite("A running member under more load than it takes")
struct OverloadTests {
  static let tooMany = "etcdserver: too many requests"

  /// Makes so many calls at once; returns how many succeeded, all others being refused for load.
  static func flood(
    _ count: Int,
    _ call: @escaping @Sendable (Int) async throws -> Void
  ) async -> Int {
    await withTaskGroup(of: Bool.self) { tasks in
      for number in 0..<count {
        tasks.addTask {
          do {
            try await call(number)
            return true
          } catch let error as RPCError {
            #expect(error.code == .resourceExhausted && error.status.message == tooMany)
            return false
          } catch {
            Issue.record("\(error)")
            return false
          }
        }
      }
      return await tasks.reduce(0) { $0 + ($1 ? 1 : 0) }
    }
  }

  @Test("proposals beyond the bound are refused, and none of those is applied")
  func proposals() async throws {
    try await withMember { configuration in
      configuration.limits.proposalsUnansweredMax = 4
    } _: { member in
      var succeeded = 0
      var rounds = 0
      // How many meet in one tick is the machine's affair.
      repeat {
        rounds += 1
        succeeded += await Self.flood(500) { number in
          _ = try await member.kv.put(.init("k-\(number)", "v"))
        }
      } while succeeded == rounds * 500 && rounds < 20
      #expect(succeeded >= 4 && succeeded < rounds * 500, "\(succeeded) in \(rounds) rounds")
      let revision = try await member.kv.range(.init("k")).header?.revision
      #expect(revision == Int64(1 + succeeded))
      for number in 0..<20 { _ = try await member.kv.put(.init("after", "\(number)")) }
    }
  }

  @Test("a member that takes no load still raises its own alarm")
  func ownProposals() async throws {
    try await withMember { configuration in
      configuration.limits.proposalBytesMax = 0
      configuration.limits.proposalsUnansweredMax = 0
      configuration.quotaBackendBytes = 1
    } _: { member in
      await expectFailure(.resourceExhausted, Self.tooMany) {
        _ = try await member.kv.deleteRange(.init(key: Array("a".utf8)))
      }
      await expectFailure(.resourceExhausted, "etcdserver: mvcc: database space exceeded") {
        _ = try await member.kv.put(.init("a", "1"))
      }
      var errors: [String] = []
      for _ in 0..<10_000 where errors.isEmpty {
        errors = try await member.maintenance.status(.init()).errors
      }
      #expect(errors.count == 1)
    }
  }

  @Test("long reads beyond the pool's queue are refused, others go on")
  func longReads() async throws {
    try await withMember { configuration in
      configuration.limits.readerJobsMax = 2
    } _: { member in
      try await Self.putMany(member, count: 1200, valueBytes: 10)
      var succeeded = 0
      var rounds = 0
      repeat {
        rounds += 1
        succeeded += await Self.flood(200) { _ in
          let answer = try await member.kv.range(.all)
          #expect(answer.count == 1200)
        }
      } while succeeded == rounds * 200 && rounds < 20
      #expect(succeeded >= 1 && succeeded < rounds * 200, "\(succeeded) in \(rounds) rounds")
      #expect(try await member.kv.range(.init("k-7")).count == 1)
      #expect(try await member.kv.range(.all).count == 1200)
    }
  }

  private static func putMany(_ member: TestMember, count: Int, valueBytes: Int) async throws {
    let value = [UInt8](repeating: 7, count: valueBytes)
    let stepCount = min(100, (1 << 20) / valueBytes)
    for start in stride(from: 0, to: count, by: stepCount) {
      let puts = (start..<min(start + stepCount, count)).map { number in
        Etcdserverpb.RequestOp(
          request: .requestPut(.init(key: Array("k-\(number)".utf8), value: value))
        )
      }
      _ = try await member.kv.txn(.init(success: puts))
    }
  }

  @Test("answers that are held back fill their bound and not the memory")
  func unreadAnswers() async throws {
    try await withMember { configuration in
      configuration.limits.responseBytesMax = 4 << 20
    } _: { member in
      try await Self.putMany(member, count: 50, valueBytes: 64 << 10)
      let reader = UnreadingClient(group: TestMember.group)
      try await reader.connect(port: member.port)
      // The windows are full long before all of it could be sent.
      try await reader.start(50, Etcdserverpb.RangeRequest.all.encoded())
      #expect(try await Self.refusals(of: member) > 0)
      await expectFailure(.resourceExhausted, Self.tooMany) {
        _ = try await member.kv.range(.all)
      }
      await reader.close()
      try await Self.checkRecovery(of: member)
    }
  }

  @Test("a long list that is taken back half read holds no compaction up")
  func cancelledLongRead() async throws {
    try await withMember { member in
      try await Self.putMany(member, count: 1500, valueBytes: 2 << 10)
      let reader = UnreadingClient(group: TestMember.group)
      try await reader.connect(port: member.port, windowBytes: 1024)
      try await reader.start(1, Etcdserverpb.RangeRequest.all.encoded())
      // The answer has begun, so its revision is held, and cannot go on.
      while try await Self.count("grpc_server_msg_sent_total", of: member) == 0 {
        try await Task.sleep(for: .milliseconds(2))
      }
      await reader.close()
      var request = Etcdserverpb.CompactionRequest()
      request.revision = try #require(try await member.kv.range(.init("none")).header?.revision)
      request.physical = true
      _ = try await member.kv.compact(request)
    }
  }

  @Test("a connection that leaves its answers unread is refused, others are not")
  func unreadConnection() async throws {
    try await withMember { configuration in
      configuration.limits.connectionBufferedBytesMax = 1 << 20
    } _: { member in
      try await Self.putMany(member, count: 10, valueBytes: 2 << 10)
      let reader = UnreadingClient(group: TestMember.group)
      try await reader.connect(port: member.port, windowBytes: 1024)
      // More than 100 streams may be open once the server's settings have come.
      try await reader.start(1, Etcdserverpb.RangeRequest("none").encoded())
      try await reader.waitForEnd()
      try await reader.start(300, Etcdserverpb.RangeRequest.all.encoded())
      // A client may send the heads of all calls before the first request: none is late then.
      var refused = 0
      for _ in 0..<10_000 where refused == 0 {
        try await reader.start(1, Etcdserverpb.RangeRequest.all.encoded())
        refused = try await Self.refusalCount(of: member)
      }
      #expect(refused > 0)
      #expect(try await member.kv.range(.all).count == 10)
      await reader.close()
      try await Self.checkRecovery(of: member)
    }
  }

  /// How many ranges the member has refused for load; looks until there are any, for minutes.
  private static func refusals(of member: TestMember) async throws -> Int {
    for _ in 0..<20_000 {
      let count = try await refusalCount(of: member)
      if count > 0 { return count }
      try await Task.sleep(for: .milliseconds(10))
    }
    return 0
  }

  /// The value of a counter of the method Range.
  private static func count(_ name: String, of member: TestMember) async throws -> Int {
    let page = try await HTTPExchange.get("/metrics", port: member.port).body
    let lines = page.split(separator: "\n").filter {
      $0.hasPrefix(name) && $0.contains("\"Range\"")
    }
    return lines.compactMap { Int($0.split(separator: " ").last ?? "") }.reduce(0, +)
  }

  private static func refusalCount(of member: TestMember) async throws -> Int {
    let page = try await HTTPExchange.get("/metrics", port: member.port).body
    let lines = page.split(separator: "\n").filter {
      $0.hasPrefix("grpc_server_handled_total") && $0.contains("\"Range\"")
        && $0.contains("\"ResourceExhausted\"")
    }
    return lines.compactMap { Int($0.split(separator: " ").last ?? "") }.reduce(0, +)
  }

  private static func checkRecovery(of member: TestMember) async throws {
    var recovered = false
    for _ in 0..<10_000 where !recovered {
      recovered = (try? await member.kv.range(.all)) != nil
    }
    #expect(recovered)
  }
}

/// A client that asks and does not read: its streams are held back by flow control.
private final class UnreadingClient: ClientCallDelegate, @unchecked Sendable {
  // Confined to the event loop, `connect` and what awaits apart.
  private let eventLoop: any EventLoop
  private var ended = 0
  private var connection: ClientLoopConnection?

  init(group: MultiThreadedEventLoopGroup) {
    eventLoop = group.next()
  }

  /// Waits for the end of a call.
  func waitForEnd() async throws {
    while try await eventLoop.submit({ self.ended }).get() == 0 {
      try await Task.sleep(for: .milliseconds(1))
    }
  }

  func connect(port: Int, windowBytes: UInt32? = nil) async throws {
    var configuration = RPCClientConfiguration()
    configuration.streamWindowBytes = windowBytes
    let connection = try await ClientLoopConnection.connect(
      to: .host("127.0.0.1", port: port),
      on: eventLoop,
      configuration: configuration,
      delegate: self
    ).get()
    try await eventLoop.submit { self.connection = connection }.get()
  }

  /// Makes so many calls, and takes none of what comes back.
  func start(_ count: Int, _ request: [UInt8]) async throws {
    try await eventLoop.submit {
      let headers = RequestHeaders.block(path: "/etcdserverpb.KV/Range", authority: "test")
      for number in 0..<count {
        guard let call = self.connection?.start(headers: headers, token: number) else { continue }
        self.connection?.setPaused(call, true)
        request.withUnsafeBytes { self.connection?.send(call, $0) }
        self.connection?.halfClose(call)
      }
      self.connection?.flush()
    }.get()
  }

  func close() async {
    try? await eventLoop.submit { self.connection?.closeNow() }.get()
  }

  func callReceived(_ token: Int, _ message: UnsafeRawBufferPointer) {}

  func callEnded(_ token: Int, _ end: CallEnd) { ended += 1 }
}
