package import Base
import Proto
package import Raft
import Replica

/// Writes Raft's messages as one `martletpb.RaftBatch`, piece by piece: the bytes of large entries are
/// not copied into it but named, for the owner to send from where they are.
package struct RaftEncoder {
  private let messages: [Raft.Message]
  private var next = 0
  /// The next entry of the message before `next`, when that message is begun.
  private var entry = 0
  private var isInMessage = false

  /// The bytes of the whole batch.
  package let length: Int

  /// Entries of at least this many bytes are named and not copied: what HTTP/2 takes by reference.
  package static let referenceBytesMin = 4 << 10

  package init(_ messages: [Raft.Message]) {
    self.messages = messages
    var length = 0
    for message in messages { length += Self.fieldLength(Self.length(of: message)) }
    self.length = length
  }

  /// Writes on until a large entry or the end. Returns the large entry's bytes, which come next;
  /// nil at the end.
  package mutating func write(into writer: inout ByteWriter) -> SharedBytes? {
    while true {
      if isInMessage {
        if let large = writeEntries(into: &writer) { return large }
        isInMessage = false
      }
      guard next < messages.count else { return nil }
      let message = messages[next]
      next += 1
      writer.append(field: 1, lengthOfContent: Self.length(of: message))
      Self.writeHead(of: message, into: &writer)
      entry = 0
      isInMessage = true
    }
  }

  private mutating func writeEntries(into writer: inout ByteWriter) -> SharedBytes? {
    let entries = messages[next - 1].entries
    while entry < entries.count {
      let current = entries[entry]
      entry += 1
      writer.append(field: 7, lengthOfContent: Self.length(of: current))
      switch current.payload {
      case .empty:
        Self.writeHead(of: current, kind: .entryNormal, into: &writer)
      case .normal(let bytes):
        Self.writeHead(of: current, kind: .entryNormal, into: &writer)
        guard !bytes.isEmpty else { continue }
        writer.append(field: 4, lengthOfContent: bytes.count)
        guard bytes.count < Self.referenceBytesMin else { return bytes }
        bytes.withUnsafeBytes { writer.append($0) }
      case .configuration(let change):
        Self.writeHead(of: current, kind: .entryConfChangeV2, into: &writer)
        Raftpb.ConfChangeV2(change).encoded().withUnsafeBytes {
          writer.append(field: 4, content: $0)
        }
      }
    }
    return nil
  }

  private static func writeHead(
    of entry: Entry,
    kind: Raftpb.EntryType,
    into writer: inout ByteWriter
  ) {
    writer.append(field: 1, varint: UInt64(kind.rawValue))
    writer.append(field: 2, varint: entry.term.rawValue)
    writer.append(field: 3, varint: entry.index.rawValue)
  }

  /// Everything of a message but its entries, which follow: the order of fields is free.
  private static func writeHead(of message: Raft.Message, into writer: inout ByteWriter) {
    forEachNumber(of: message) { field, value in writer.append(field: field, varint: value) }
    if let snapshot = message.snapshot {
      snapshotField(snapshot).withUnsafeBytes { writer.append(field: 9, content: $0) }
    }
    if message.context != 0 {
      writer.append(field: 12, lengthOfContent: contextBytes)
      writer.append(integer: message.context.littleEndian)
    }
  }

  /// Calls `body` with the fields that are numbers, by their places in raftpb.Message.
  @inline(__always)
  private static func forEachNumber(
    of message: Raft.Message,
    _ body: (_ field: Int, _ value: UInt64) -> Void
  ) {
    body(1, UInt64(message.kind.rawValue))
    body(2, message.to.rawValue)
    body(3, message.from.rawValue)
    body(4, message.term.rawValue)
    body(5, message.logTerm.rawValue)
    body(6, message.index.rawValue)
    body(8, message.commit.rawValue)
    body(10, message.reject ? 1 : 0)
    body(11, message.rejectHint.rawValue)
  }

  private static func snapshotField(_ snapshot: Raft.SnapshotMetadata) -> [UInt8] {
    wire(snapshot).encoded()
  }

  private static func wire(_ snapshot: Raft.SnapshotMetadata) -> Raftpb.Snapshot {
    var metadata = Raftpb.SnapshotMetadata()
    metadata.index = snapshot.index.rawValue
    metadata.term = snapshot.term.rawValue
    metadata.confState = Raftpb.ConfState(snapshot.confState)
    var field = Raftpb.Snapshot()
    field.metadata = metadata
    return field
  }

  /// The message that begins a snapshot's stream.
  static func snapshotHead(_ message: Raft.Message) -> Raftpb.Message {
    var head = Raftpb.Message()
    head.type = Raftpb.MessageType(rawValue: Int32(message.kind.rawValue))
    head.to = message.to.rawValue
    head.from = message.from.rawValue
    head.term = message.term.rawValue
    if let snapshot = message.snapshot { head.snapshot = wire(snapshot) }
    return head
  }

  /// A read round or request number is 8 bytes, least significant first.
  static let contextBytes = 8

  // MARK: Lengths. All field numbers are below 16, so each tag is one byte.

  private static func fieldLength(_ content: Int) -> Int {
    1 + ByteWriter.varintLength(UInt64(content)) + content
  }

  private static func numberLength(_ value: UInt64) -> Int {
    value == 0 ? 0 : 1 + ByteWriter.varintLength(value)
  }

  private static func length(of message: Raft.Message) -> Int {
    var length = 0
    forEachNumber(of: message) { _, value in length += numberLength(value) }
    if let snapshot = message.snapshot { length += fieldLength(snapshotField(snapshot).count) }
    if message.context != 0 { length += fieldLength(contextBytes) }
    for entry in message.entries { length += fieldLength(Self.length(of: entry)) }
    return length
  }

  private static func length(of entry: Entry) -> Int {
    var length = numberLength(entry.term.rawValue) + numberLength(entry.index.rawValue)
    switch entry.payload {
    case .empty:
      break
    case .normal(let bytes):
      if !bytes.isEmpty { length += fieldLength(bytes.count) }
    case .configuration(let change):
      length += numberLength(UInt64(Raftpb.EntryType.entryConfChangeV2.rawValue))
      length += fieldLength(Raftpb.ConfChangeV2(change).encoded().count)
    }
    return length
  }
}
