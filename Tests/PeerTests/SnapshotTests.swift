import Base
import Membership
import Peer
import Raft
import Synchronization
import Testing

/// Takes a snapshot into memory.
final class MemoryReceiver: SnapshotReceiver {
  struct Content {
    var data: [UInt8] = []
    var sha256: [UInt8]?
    var isAbandoned = false
    var unansweredMax = 0
  }

  struct Refusal: Error, CustomStringConvertible {
    var description: String { "the hash differs" }
  }

  private let content = Mutex(Content())
  let accepts: Bool
  let failsAfterBytes: Int

  init(accepts: Bool = true, failsAfterBytes: Int = .max) {
    self.accepts = accepts
    self.failsAfterBytes = failsAfterBytes
  }

  var value: Content { content.withLock { $0 } }

  func receive(_ data: [UInt8]) async throws {
    let count = content.withLock { content in
      content.data += data
      return content.data.count
    }
    if count > failsAfterBytes { throw Refusal() }
  }

  func finish(sha256: [UInt8]) async throws {
    content.withLock { $0.sha256 = sha256 }
    if !accepts { throw Refusal() }
  }

  func abandon() {
    content.withLock { $0.isAbandoned = true }
  }
}

@Suite(.timeLimit(.minutes(10))) struct SnapshotTests {
  static let chunkBytes = 64 << 10

  /// Sends `bytes` from one transport to another; returns the error, if any.
  static func send(
    _ bytes: [UInt8],
    to receiver: MemoryReceiver?,
    announced: Int? = nil
  ) async throws -> String? {
    let folder = try SocketFolder()
    let a = try await TestPeer.start(1, in: folder) { configuration, _ in
      configuration.snapshotChunkBytes = chunkBytes
    }
    let b = try await TestPeer.start(2, in: folder) { configuration, handlers in
      configuration.snapshotChunkBytes = chunkBytes
      handlers.makeSnapshotReceiver = { message, bytesMax in
        message.snapshot?.index == LogIndex(40) && bytesMax == UInt64(announced ?? bytes.count)
          ? receiver : nil
      }
    }
    // The first address is nobody's: what was read for it goes to the next.
    let nobody = try #require(try? TestPeer.nobody(in: folder))
    a.transport.update(peers: [PeerAddress(id: b.id, urls: [nobody, b.url])])
    var message = Raft.Message(.snapshot, from: a.id, to: b.id, term: Term(3))
    message.snapshot = SnapshotMetadata(
      index: LogIndex(40),
      term: Term(2),
      confState: ConfState(voters: [MemberID(1), MemberID(2)])
    )
    let sent = Mutex(0)
    var failure: String?
    do {
      try await a.transport.sendSnapshot(
        message,
        bytesMax: UInt64(announced ?? bytes.count),
        next: { bytesMax in
          sent.withLock { sent in
            guard sent < bytes.count else { return nil }
            let end = min(bytes.count, sent + bytesMax)
            defer { sent = end }
            return Array(bytes[sent..<end])
          }
        },
        sha256: { [1, 2, 3] }
      )
    } catch {
      failure = "\(error)"
    }
    await a.stop()
    await b.stop()
    return failure
  }

  @Test func aSnapshotArrivesWhole() async throws {
    let receiver = MemoryReceiver()
    let bytes = (0..<1_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
    let failure = try await Self.send(bytes, to: receiver)
    #expect(failure == nil)
    #expect(receiver.value.data == bytes && receiver.value.sha256 == [1, 2, 3])
    #expect(!receiver.value.isAbandoned)
  }

  @Test func aReceiverThatRefusesIsHeard() async throws {
    let bytes = [UInt8](repeating: 5, count: 500_000)
    let atEnd = MemoryReceiver(accepts: false)
    #expect(try await Self.send(bytes, to: atEnd)?.contains("the hash differs") == true)
    try await eventually("abandoned") { atEnd.value.isAbandoned }
    let midway = MemoryReceiver(failsAfterBytes: 100_000)
    #expect(try await Self.send(bytes, to: midway)?.contains("the hash differs") == true)
    try await eventually("abandoned") { midway.value.isAbandoned }
    #expect(midway.value.sha256 == nil)
    #expect(try await Self.send(bytes, to: nil)?.contains("takes no snapshot now") == true)
  }

  @Test func aSnapshotIsNotLongerThanAnnounced() async throws {
    let bytes = [UInt8](repeating: 5, count: 200_000)
    let short = MemoryReceiver()
    #expect(try await Self.send(bytes, to: short, announced: 300_000) == nil)
    #expect(short.value.data == bytes && short.value.sha256 == [1, 2, 3])
    // More than may be under way at once: the receiver has begun when it is found.
    let more = [UInt8](repeating: 5, count: 1_000_000)
    let long = MemoryReceiver()
    #expect(try await Self.send(more, to: long, announced: 900_000)?.contains("900000") == true)
    try await eventually("abandoned") { long.value.isAbandoned }
    #expect(long.value.sha256 == nil)
  }
}

extension TestPeer {
  /// An address on which nobody listens.
  static func nobody(in folder: SocketFolder) throws -> ServerURL {
    try ServerURL("unix://\(folder.path)/9.sock")
  }
}
