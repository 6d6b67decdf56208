import Base
import Glibc
import Logging
import Membership
import NIOCore
import Peer
import RPC
import Raft
import Synchronization
import Testing

/// What a transport's handlers were called with.
final class Recorder: Sendable {
  struct Content {
    var messages: [Raft.Message] = []
    var unreachable: [MemberID: Int] = [:]
    var connected: [MemberID: Int] = [:]
    var snapshots: [Raft.Message] = []
    var removed: Set<MemberID> = []
    var selfRemoved = 0
    /// Whether what is received counts as taken.
    var takes = true
  }

  private let content = Mutex(Content())
  let transport = Mutex<PeerTransport?>(nil)

  var value: Content { content.withLock { $0 } }
  func change(_ body: (inout Content) -> Void) { content.withLock { body(&$0) } }

  func handlers() -> PeerHandlers {
    PeerHandlers(
      received: { messages, bytes in
        let takes = self.content.withLock { content in
          content.messages += messages
          return content.takes
        }
        if takes { self.transport.withLock { $0 }?.took(bytes: bytes) }
      },
      unreachable: { id in self.change { $0.unreachable[id, default: 0] += 1 } },
      connected: { id in self.change { $0.connected[id, default: 0] += 1 } },
      snapshotWanted: { message in self.change { $0.snapshots.append(message) } },
      isRemoved: { id in self.value.removed.contains(id) },
      selfRemoved: { _ in self.change { $0.selfRemoved += 1 } }
    )
  }
}

/// Lines of a log, to be looked at.
struct LineCollector: LogHandler {
  final class Lines: Sendable {
    private let lines = Mutex<[String]>([])
    func add(_ line: String) { lines.withLock { $0.append(line) } }
    func count(containing text: String) -> Int {
      lines.withLock { $0.count { $0.contains(text) } }
    }
  }

  let lines: Lines
  var metadata: Logger.Metadata = [:]
  var logLevel = Logger.Level.trace

  init(_ lines: Lines) { self.lines = lines }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    lines.add("\(event.message) \(event.metadata ?? [:])")
  }
}

/// One transport with its handlers, listening on a socket in a folder.
struct TestPeer: Sendable {
  let id: MemberID
  let recorder: Recorder
  let transport: PeerTransport
  let url: ServerURL
  let lines: LineCollector.Lines

  var address: PeerAddress { PeerAddress(id: id, urls: [url]) }

  static func start(
    _ id: UInt64,
    in folder: SocketFolder,
    cluster: UInt64 = 0xC1,
    _ change: (inout PeerConfiguration, inout PeerHandlers) -> Void = { _, _ in }
  ) async throws -> TestPeer {
    var configuration = PeerConfiguration(
      clusterID: ClusterID(cluster),
      memberID: MemberID(id),
      serverVersion: "test"
    )
    configuration.reconnectDelayMin = .milliseconds(5)
    configuration.reconnectDelayMax = .milliseconds(20)
    let recorder = Recorder()
    var handlers = recorder.handlers()
    change(&configuration, &handlers)
    let lines = LineCollector.Lines()
    let logger = Logger(label: "test") { _ in LineCollector(lines) }
    let transport = PeerTransport(configuration, handlers: handlers, logger: logger)
    recorder.transport.withLock { $0 = transport }
    let url = try ServerURL("unix://\(folder.path)/\(id).sock")
    _ = try await transport.listen(on: [url])
    return TestPeer(
      id: MemberID(id),
      recorder: recorder,
      transport: transport,
      url: url,
      lines: lines
    )
  }

  func message(to other: MemberID, _ number: UInt64) -> Raft.Message {
    var message = Raft.Message(.heartbeat, from: id, to: other, term: Term(1))
    message.commit = LogIndex(number)
    return message
  }

  func stop() async {
    await transport.stop()
    recorder.transport.withLock { $0 = nil }
  }
}

/// A directory for sockets that is gone when the object is.
final class SocketFolder: Sendable {
  let path: String

  init() throws {
    var template = Array("/tmp/martlet-peer-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit {
    for id in 1...9 { unlink("\(path)/\(id).sock") }
    rmdir(path)
  }
}

/// Looks again and again until it is so.
func eventually(
  _ what: String,
  within seconds: Int = 20,
  sourceLocation: SourceLocation = #_sourceLocation,
  _ body: () async throws -> Bool
) async throws {
  let end = ContinuousClock.now + .seconds(seconds)
  while try await !body() {
    guard ContinuousClock.now < end else {
      Issue.record("not within \(seconds) s: \(what)", sourceLocation: sourceLocation)
      return
    }
    try await Task.sleep(for: .milliseconds(2))
  }
}
