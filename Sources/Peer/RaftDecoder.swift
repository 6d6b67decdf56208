package import Base
import Glibc
package import Proto
package import Raft
import Replica

/// Reads a `martletpb.RaftBatch`. Whatever is not just as `RaftEncoder` writes it is refused, so that
/// Raft only ever sees messages of its own form; what they say is Raft's to judge.
package enum RaftDecoder {
  /// What is wrong with a batch.
  package enum Failure: Error, Hashable, CustomStringConvertible {
    /// The sender or the receiver that a message names is not that of the stream.
    case misdirected
    case unknownKind(Int32)
    case unknownEntryKind(Int32)
    case badContext
    case badConfChange
    case badSnapshot
    /// A field that this kind of message does not have.
    case unexpectedField(String)

    package var description: String {
      switch self {
      case .misdirected: "a message's sender or receiver is not that of its stream"
      case .unknownKind(let kind): "message type \(kind) is not for peers"
      case .unknownEntryKind(let kind): "entry type \(kind) is unknown"
      case .badContext: "a message's context is not 8 bytes"
      case .badConfChange: "a change of the membership cannot be read"
      case .badSnapshot: "a snapshot's description is missing or holds data"
      case .unexpectedField(let name): "field \(name) does not belong there"
      }
    }
  }

  /// The messages of a batch on a stream. All contents of entries are copied, once and together.
  package static func messages(
    _ batch: Martletpb.RaftBatch.View,
    from: MemberID,
    to: MemberID
  ) throws(Failure) -> [Raft.Message] {
    var contents = ContentBlock(batch)
    var messages: [Raft.Message] = []
    messages.reserveCapacity(batch.messages.count)
    for view in batch.messages {
      let message = try message(view, from: from, to: to, &contents)
      if message.kind == .snapshot { throw .unknownKind(Int32(message.kind.rawValue)) }
      messages.append(message)
    }
    return messages
  }

  /// The message that begins a snapshot's stream.
  package static func snapshotHead(
    _ view: Raftpb.Message.View,
    from: MemberID,
    to: MemberID
  ) throws(Failure) -> Raft.Message {
    guard view.entries.count == 0 else { throw .unexpectedField("entries") }
    var contents = ContentBlock()
    let message = try message(view, from: from, to: to, &contents)
    guard message.kind == .snapshot, message.snapshot != nil else { throw .badSnapshot }
    return message
  }

  private static func message(
    _ view: Raftpb.Message.View,
    from: MemberID,
    to: MemberID,
    _ contents: inout ContentBlock
  ) throws(Failure) -> Raft.Message {
    guard view.from == from.rawValue, view.to == to.rawValue else { throw .misdirected }
    let number = view.type.rawValue
    guard let kind = UInt8(exactly: number).flatMap(Raft.Message.Kind.init(rawValue:)) else {
      throw .unknownKind(number)
    }
    var message = Raft.Message(kind, from: from, to: to, term: Term(view.term))
    message.logTerm = Term(view.logTerm)
    message.index = LogIndex(view.index)
    message.commit = LogIndex(view.commit)
    message.reject = view.reject
    message.rejectHint = LogIndex(view.rejectHint)
    message.context = try context(view.context)
    if let snapshot = view.snapshot {
      guard kind == .snapshot else { throw .unexpectedField("snapshot") }
      message.snapshot = try metadata(snapshot)
    }
    guard view.entries.count > 0 else { return message }
    guard kind == .app || kind == .propose else { throw .unexpectedField("entries") }
    message.entries.reserveCapacity(view.entries.count)
    for entry in view.entries { message.entries.append(try Self.entry(entry, &contents)) }
    return message
  }

  private static func entry(
    _ view: Raftpb.Entry.View,
    _ contents: inout ContentBlock
  ) throws(Failure) -> Entry {
    let payload: Payload
    switch view.type {
    case .entryNormal where view.data.isEmpty:
      payload = .empty
    case .entryNormal:
      payload = .normal(contents.take(view.data))
    case .entryConfChangeV2:
      guard let message = try? Raftpb.ConfChangeV2(decoding: view.data),
        let change = ConfChange(message), change.changes.count <= ConfChange.changesMax
      else { throw .badConfChange }
      payload = .configuration(change)
    default:
      throw .unknownEntryKind(view.type.rawValue)
    }
    return Entry(term: Term(view.term), index: LogIndex(view.index), payload: payload)
  }

  private static func context(_ bytes: UnsafeRawBufferPointer) throws(Failure) -> UInt64 {
    if bytes.isEmpty { return 0 }
    guard bytes.count == RaftEncoder.contextBytes else { throw .badContext }
    return UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
  }

  private static func metadata(
    _ view: Raftpb.Snapshot.View
  ) throws(Failure) -> Raft.SnapshotMetadata {
    guard view.data.isEmpty, let metadata = view.metadata.map({ Raftpb.SnapshotMetadata($0) })
    else { throw .badSnapshot }
    return Raft.SnapshotMetadata(
      index: LogIndex(metadata.index),
      term: Term(metadata.term),
      confState: ConfState(metadata.confState ?? Raftpb.ConfState())
    )
  }
}

/// One block for the contents of all entries of a batch, so that they cost one allocation.
private struct ContentBlock {
  private var block: ByteBlock?
  private var base: UnsafeMutableRawPointer?
  private var used = 0

  init() {}

  init(_ batch: Martletpb.RaftBatch.View) {
    var count = 0
    for message in batch.messages {
      for entry in message.entries where entry.type == .entryNormal { count += entry.data.count }
    }
    guard count > 0 else { return }
    guard let base = malloc(count) else { preconditionFailure("out of memory") }
    self.base = base
    block = ByteBlock(adopting: base, count: count)
  }

  /// Copies one entry's content into the block.
  mutating func take(_ bytes: UnsafeRawBufferPointer) -> SharedBytes {
    guard let block, let base, let source = bytes.baseAddress, used + bytes.count <= block.count
    else { return SharedBytes(copying: bytes) }
    (base + used).copyMemory(from: source, byteCount: bytes.count)
    defer { used += bytes.count }
    return SharedBytes(block, used..<(used + bytes.count))
  }
}
