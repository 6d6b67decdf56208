import Proto
import Testing

/// Input that means harm. Nothing here may crash, hang or take memory without bound.
struct MalformedTests {
  private func decode<Value: Message>(
    _ bytes: [UInt8],
    as type: Value.Type
  ) -> Result<Value, DecodeError> {
    do throws(DecodeError) {
      return .success(try Value(decoding: bytes))
    } catch {
      return .failure(error)
    }
  }

  /// Decodes; what is accepted must encode to something that decodes to the same.
  private func probe<Value: Message>(_ type: Value.Type, _ bytes: [UInt8]) -> Bool {
    guard case .success(let value) = decode(bytes, as: type) else { return false }
    let again = decode(value.encoded(), as: type)
    #expect(again == .success(value), "\(Value.messageName) \(hex(bytes))")
    return true
  }

  @Test
  func everyTruncationIsSafe() {
    var refused = 0
    for golden in Golden.all(Goldens.canonical + "\n" + Goldens.merged) {
      let bytes = golden.columns[0]
      for count in 0..<bytes.count where !probe(golden.type, Array(bytes[..<count])) {
        refused += 1
      }
    }
    #expect(refused > 10_000)
  }

  @Test
  func everyChangeOfOneByteIsSafe() {
    var refused = 0
    for golden in Golden.all(Goldens.literals) {
      for index in golden.columns[0].indices {
        for value in UInt8.min...UInt8.max {
          var bytes = golden.columns[0]
          bytes[index] = value
          if !probe(golden.type, bytes) { refused += 1 }
        }
      }
    }
    #expect(refused > 10_000)
  }

  /// A TxnRequest with that many messages within each other; an even number ends in a RequestOp.
  private func nested(depth: Int) -> [UInt8] {
    // Built from the inside, back to front, so that 100,000 levels take linear time.
    var reversed: [UInt8] = []
    for level in stride(from: depth - 1, to: 0, by: -1) {
      // success = 2 in a TxnRequest, request_txn = 4 in a RequestOp.
      let number = level % 2 == 1 ? 2 : 4
      reversed += Wire.varint(UInt64(reversed.count)).reversed()
      reversed += Wire.tag(number, 2).reversed()
    }
    return reversed.reversed()
  }

  @Test
  func nestingIsBounded() throws {
    #expect(messageDepthMax == 300)
    let deepest = probe(Etcdserverpb.TxnRequest.self, nested(depth: messageDepthMax))
    #expect(deepest)
    for depth in [messageDepthMax + 1, 1_000, 100_000] {
      let result = decode(nested(depth: depth), as: Etcdserverpb.TxnRequest.self)
      #expect(result == .failure(.tooDeep), "\(depth)")
    }
    // A message field twice, around the deepest transaction that fits: merging goes all the way in.
    let inner = Wire.content(4, nested(depth: messageDepthMax - 1))
    let merged = try Etcdserverpb.RequestOp(decoding: inner + inner)
    guard case .requestTxn(let txn)? = merged.request else {
      Issue.record("not a transaction")
      return
    }
    #expect(txn.success.count == 2 && txn.success[0] == txn.success[1])
    let tooDeep = Wire.content(4, nested(depth: messageDepthMax))
    let result = decode(tooDeep + tooDeep, as: Etcdserverpb.RequestOp.self)
    #expect(result == .failure(.tooDeep))
  }

  @Test
  func smallInputCannotTakeMuchMemory() throws {
    // 2 bytes each on the wire, more than 100 in memory.
    let empties = Array(repeating: [0x12, 0x00] as [UInt8], count: 1_000_000).flatMap { $0 }
    #expect(decode(empties, as: Etcdserverpb.TxnRequest.self) == .failure(.tooLarge))
    let arena = Arena()
    _ = empties.withUnsafeBytes { bytes in
      #expect(throws: DecodeError.tooLarge) {
        try Etcdserverpb.TxnRequest.View(decoding: bytes, in: arena)
      }
    }
    #expect(arena.heldBytes <= Arena.defaultBytesMax)
    arena.reset()
    #expect(arena.heldBytes <= Arena.retainedBytesMax)
    // And the arena works on.
    let put = Etcdserverpb.PutRequest(key: [1, 2, 3])
    try put.encoded().withUnsafeBytes { bytes in
      let view = try Etcdserverpb.PutRequest.View(decoding: bytes, in: arena)
      #expect([UInt8](view.key) == [1, 2, 3])
    }
  }

  @Test
  func everyBoundOfAnArenaIsKept() {
    let bytes = GoldenTests.literals[3].encoded()
    var fits = 0
    for bytesMax in stride(from: 0, through: 4_096, by: 8) {
      let arena = Arena(bytesMax: bytesMax)
      let isDecoded = bytes.withUnsafeBytes { bytes in
        (try? Etcdserverpb.TxnRequest.View(decoding: bytes, in: arena)) != nil
      }
      #expect(arena.heldBytes <= bytesMax)
      if isDecoded { fits += 1 }
      // More memory never hurts.
      #expect(isDecoded || fits == 0, "\(bytesMax)")
    }
    #expect(fits > 0 && fits < 500)
  }

  @Test(arguments: [
    "0a", "0a05", "0aff", "0affffffff0f", "0affffffff7f", "0affffffffffffffffff01",  // lengths
    "08", "0880", "18ffffffffffffffffff02", "18ffffffffffffffffffff01",  // varints
    "00", "01", "0200", "0700",  // field number 0
    "0b", "0c", "0b0c", "930a940a",  // groups
    "0e00", "0f00",  // wire types that do not exist
    "0800", "0d00000000", "090000000000000000", "1a00",  // other types than declared
    "80808080800100", "ffffffff7f00",  // tags beyond 32 bits
    "b901", "bd01",  // unknown fields cut short
  ])
  func malformedPutRequest(_ text: String) {
    #expect(decode(bytes(hex: text), as: Etcdserverpb.PutRequest.self) == .failure(.malformed))
  }

  @Test(arguments: [
    "", "0a00", "1800", "b80100", "b90100000000000000 00", "bd0100000000", "ba0100",
    "8a808080 00 00", "18ffffffffffffffffff01", "f8ffffff0f00",
  ])
  func oddButValidPutRequest(_ text: String) {
    let bytes = bytes(hex: text.filter { $0 != " " })
    #expect(probe(Etcdserverpb.PutRequest.self, bytes), "\(text)")
  }

  @Test
  func unknownFieldsAreSkipped() throws {
    var bytes = Wire.content(1, [9])
    for number in [7, 15, 16, 99, 127, 128, 536_870_911] {
      bytes += Wire.number(number, 5) + Wire.content(number, [1, 2, 3])
      bytes += Wire.tag(number, 5) + [0, 0, 0, 0]
      bytes += Wire.tag(number, 1) + [0, 0, 0, 0, 0, 0, 0, 0]
    }
    bytes += Wire.number(3, 77)
    let value = try Etcdserverpb.PutRequest(decoding: bytes)
    #expect(value == Etcdserverpb.PutRequest(key: [9], lease: 77))
  }

  @Test
  func packedAndUnpackedNumbersAreBothRead() throws {
    let unpacked = Wire.number(1, 3) + Wire.content(1, Wire.varint(300) + [4]) + Wire.number(1, 5)
    #expect(try Raftpb.ConfState(decoding: unpacked).voters == [3, 300, 4, 5])
    #expect(
      decode(Wire.content(1, [3, 0x80]), as: Raftpb.ConfState.self) == .failure(.malformed)
    )
    let filters = Wire.number(5, 1) + Wire.content(5, [0, 1])
    #expect(
      try Etcdserverpb.WatchCreateRequest(decoding: filters).filters == [
        .nodelete, .noput, .nodelete,
      ]
    )
  }

  @Test
  func lastMemberOfAOneofWins() throws {
    let put = Wire.content(2, Wire.content(1, [1]))
    let more = Wire.content(2, Wire.content(2, [2]))
    let range = Wire.content(1, Wire.content(1, [3]))
    func request(_ bytes: [UInt8]) throws -> Etcdserverpb.RequestOp.Request? {
      try Etcdserverpb.RequestOp(decoding: bytes).request
    }
    #expect(try request(put + more) == .requestPut(.init(key: [1], value: [2])))
    #expect(try request(put + range + more) == .requestPut(.init(value: [2])))
    #expect(try request(put + more + range) == .requestRange(.init(key: [3])))
    let compare = Wire.number(4, 5) + Wire.content(7, [1, 2]) + Wire.number(8, 6)
    #expect(try Etcdserverpb.Compare(decoding: compare).targetUnion == .lease(6))
    let value = compare + Wire.content(7, [])
    #expect(try Etcdserverpb.Compare(decoding: value).targetUnion == .value([]))
  }

  @Test
  func stringsMustBeUTF8() throws {
    let bad = [
      "80", "bf", "c0af", "c1bf", "c2", "c220", "e0", "e080", "e08080", "e09fbf", "e282", "e28228",
      "eda080", "edbfbf", "f0", "f08080", "f0808080", "f08fbfbf", "f4908080", "f5808080", "ff",
      "fe",
      "6161616161616161ff", "616161616161616161616161616161c3",
    ]
    let good = [
      "", "00", "c280", "dfbf", "e0a080", "ed9fbf", "ee8080", "efbfbf", "f0908080", "f48fbfbf",
      "6161616161616161c3a9", "61616161616161c3a961616161",
    ]
    for text in bad {
      let message = Wire.content(1, bytes(hex: text))
      #expect(
        decode(message, as: Etcdserverpb.AuthenticateRequest.self) == .failure(.invalidUTF8),
        "\(text)"
      )
    }
    for text in good {
      let message = Wire.content(1, bytes(hex: text))
      let value = try Etcdserverpb.AuthenticateRequest(decoding: message)
      #expect(Array(value.name.utf8) == bytes(hex: text))
    }
    // Bytes may be anything.
    #expect(try Etcdserverpb.PutRequest(decoding: Wire.content(1, [0xFF, 0])).key == [0xFF, 0])
  }
}
