import Base
import Peer
import Proto
import Raft
import Testing

/// The form of Raft's messages on the wire.
@Suite struct CodecTests {
  static let (sender, receiver) = (MemberID(0xA1), MemberID(0xB2))

  /// Encodes as the transport does: pieces, and large entries by reference.
  static func encode(_ messages: [Raft.Message]) -> [UInt8] {
    var encoder = RaftEncoder(messages)
    var bytes: [UInt8] = []
    while true {
      var writer = ByteWriter()
      let large = encoder.write(into: &writer)
      bytes += writer.bytes
      guard let large else { break }
      #expect(large.count >= RaftEncoder.referenceBytesMin)
      bytes += large.array
    }
    #expect(bytes.count == encoder.length)
    return bytes
  }

  static func decode(
    _ bytes: [UInt8],
    from: MemberID = sender,
    to: MemberID = receiver
  ) throws -> [Raft.Message] {
    let arena = Arena()
    return try bytes.withUnsafeBytes { bytes in
      let view = try Martletpb.RaftBatch.View(decoding: bytes, in: arena)
      return try RaftDecoder.messages(view, from: from, to: to)
    }
  }

  /// All of a message but its entries.
  static func head(_ message: Raft.Message) -> String {
    var message = message
    message.entries = []
    return "\(message)"
  }

  /// A message with random fields of its kind.
  static func message(_ random: inout SplitMix64) -> Raft.Message {
    let kinds: [Raft.Message.Kind] = [
      .propose, .app, .appResp, .vote, .voteResp, .heartbeat, .heartbeatResp, .transferLeader,
      .timeoutNow, .readIndex, .readIndexResp, .preVote, .preVoteResp,
    ]
    let kind = kinds[Int(random.next() % UInt64(kinds.count))]
    func number() -> UInt64 {
      switch random.next() % 4 {
      case 0: 0
      case 1: random.next() % 200
      case 2: random.next() % Raft.Message.numberMax
      default: random.next()
      }
    }
    var message = Raft.Message(kind, from: sender, to: receiver, term: Term(number()))
    message.logTerm = Term(number())
    message.index = LogIndex(number())
    message.commit = LogIndex(number())
    message.reject = random.next() % 2 == 0
    message.rejectHint = LogIndex(number())
    message.context = number()
    guard kind == .app || kind == .propose else { return message }
    for _ in 0..<(random.next() % 6) {
      let payload: Payload
      switch random.next() % 5 {
      case 0: payload = .empty
      case 1:
        let change = ConfChange(
          changes: [.init(.addLearner, MemberID(random.next())), .init(.removeNode, MemberID(7))],
          context: SharedBytes([1, 2, 3])
        )
        payload = .configuration(change)
      default:
        let count = random.next() % (random.next() % 4 == 0 ? 9000 : 40) + 1
        payload = .normal(SharedBytes((0..<count).map { _ in UInt8(random.next() & 0xFF) }))
      }
      message.entries.append(
        Entry(term: Term(number()), index: LogIndex(number()), payload: payload)
      )
    }
    return message
  }

  @Test(arguments: 0..<40) func whatIsEncodedIsDecodedAgain(seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let messages = (0..<Int(random.next() % 5)).map { _ in Self.message(&random) }
    let decoded = try Self.decode(Self.encode(messages))
    #expect(decoded.map(Self.head) == messages.map(Self.head), "seed \(seed)")
    for (one, other) in zip(decoded, messages) {
      #expect(one.entries == other.entries, "seed \(seed)")
    }
  }

  @Test func theFormIsThatOfTheDescriptor() throws {
    var message = Raft.Message(.app, from: Self.sender, to: Self.receiver, term: Term(5))
    message.index = LogIndex(9)
    message.context = 0x0102
    message.entries = [
      Entry(term: Term(5), index: LogIndex(10), payload: .normal(SharedBytes([1, 2, 3])))
    ]
    let batch = try Self.encode([message]).withUnsafeBytes { bytes in
      try Martletpb.RaftBatch(decoding: bytes)
    }
    let wire = try #require(batch.messages.first)
    #expect(batch.messages.count == 1)
    #expect(wire.type.rawValue == 3 && wire.from == 0xA1 && wire.to == 0xB2 && wire.term == 5)
    #expect(wire.index == 9 && wire.context == [2, 1, 0, 0, 0, 0, 0, 0])
    #expect(wire.entries.first?.data == [1, 2, 3] && wire.entries.first?.index == 10)
  }

  /// Whatever bytes come: refused, or messages of the announced sender; never a crash.
  @Test(arguments: 0..<200) func damagedBatchesDoNoHarm(seed: UInt64) throws {
    var random = SplitMix64(seed: seed &+ 1_000_000)
    var bytes = Self.encode((0..<3).map { _ in Self.message(&random) })
    for _ in 0..<(1 + random.next() % 8) where !bytes.isEmpty {
      let place = Int(random.next() % UInt64(bytes.count))
      switch random.next() % 3 {
      case 0: bytes[place] = UInt8(random.next() & 0xFF)
      case 1: bytes.removeSubrange(place..<min(bytes.count, place + 1 + Int(random.next() % 9)))
      default: bytes.insert(UInt8(random.next() & 0xFF), at: place)
      }
    }
    guard let messages = try? Self.decode(bytes) else { return }
    for message in messages {
      #expect(message.from == Self.sender && message.to == Self.receiver, "seed \(seed)")
      #expect(message.kind != .snapshot && message.snapshot == nil, "seed \(seed)")
    }
  }

  @Test func strangersAndOddFieldsAreRefused() throws {
    let vote = Self.encode([
      Raft.Message(.vote, from: Self.sender, to: Self.receiver, term: Term(1))
    ])
    #expect(throws: RaftDecoder.Failure.misdirected) {
      try Self.decode(vote, from: MemberID(3))
    }
    #expect(throws: RaftDecoder.Failure.misdirected) {
      try Self.decode(vote, to: MemberID(3))
    }
    func refused(_ change: (inout Raftpb.Message) -> Void) throws -> RaftDecoder.Failure? {
      var message = Raftpb.Message()
      message.type = Raftpb.MessageType(rawValue: 3)
      (message.from, message.to) = (Self.sender.rawValue, Self.receiver.rawValue)
      change(&message)
      do {
        _ = try Self.decode(Martletpb.RaftBatch(messages: [message]).encoded())
        return nil
      } catch let failure as RaftDecoder.Failure {
        return failure
      }
    }
    #expect(try refused { _ in } == nil)
    #expect(try refused { $0.type = .init(rawValue: 0) } == .unknownKind(0))
    #expect(try refused { $0.type = .init(rawValue: 7) } == .unknownKind(7))
    #expect(try refused { $0.type = .init(rawValue: 300) } == .unknownKind(300))
    #expect(try refused { $0.context = [1] } == .badContext)
    #expect(try refused { $0.snapshot = Raftpb.Snapshot() } == .unexpectedField("snapshot"))
    #expect(
      try refused {
        $0.type = .init(rawValue: 8)
        $0.entries = [Raftpb.Entry()]
      } == .unexpectedField("entries")
    )
    var entry = Raftpb.Entry()
    entry.type = .entryConfChange
    #expect(try refused { $0.entries = [entry] } == .unknownEntryKind(1))
    entry.type = .entryConfChangeV2
    entry.data = [0xFF]
    #expect(try refused { $0.entries = [entry] } == .badConfChange)
    let many = ConfChange(
      changes: (0..<65).map { .init(.addVoter, MemberID($0 + 1)) }
    )
    var batch = Raft.Message(.app, from: Self.sender, to: Self.receiver, term: Term(1))
    batch.entries = [Entry(term: Term(1), index: LogIndex(1), payload: .configuration(many))]
    #expect(throws: RaftDecoder.Failure.badConfChange) { try Self.decode(Self.encode([batch])) }
  }

  /// The contents of a batch's entries are copied once, into one block.
  @Test func entriesOfABatchShareOneBlock() throws {
    var message = Raft.Message(.app, from: Self.sender, to: Self.receiver, term: Term(1))
    for index in 1...3 {
      message.entries.append(
        Entry(
          term: Term(1),
          index: LogIndex(UInt64(index)),
          payload: .normal(SharedBytes([UInt8](repeating: UInt8(index), count: 100)))
        )
      )
    }
    let decoded = try Self.decode(Self.encode([message]))
    let places = try decoded[0].entries.map { entry in
      guard case .normal(let bytes) = entry.payload else { throw CodecTestError.noBytes }
      return bytes.withUnsafeBytes { UInt(bitPattern: $0.baseAddress) }
    }
    #expect(places[1] == places[0] + 100 && places[2] == places[1] + 100)
  }
}

private enum CodecTestError: Error {
  case noBytes
}
