import RPC
import Testing

@Suite struct MessageReaderTests {
  struct Outcome: Equatable {
    var messages: [[UInt8]] = []
    var compressed: [Bool] = []
    var failure: RPCStatus?
    var held = 0
  }

  /// Feeds the pieces to a reader and notes what it gives.
  static func read(_ pieces: [[UInt8]], max: Int = 1000) -> Outcome {
    var reader = MessageReader()
    var outcome = Outcome()
    for piece in pieces {
      piece.withUnsafeBytes { bytes in
        var data = bytes
        while outcome.failure == nil {
          switch reader.next(from: &data, messageBytesMax: max) {
          case .message(let message, let isCompressed):
            outcome.messages.append([UInt8](message))
            outcome.compressed.append(isCompressed)
          case .needsMore:
            return
          case .failure(let status):
            outcome.failure = status
          }
        }
      }
    }
    outcome.held = reader.heldBytes
    return outcome
  }

  static func frame(_ message: [UInt8], flag: UInt8 = 0) -> [UInt8] {
    let length = UInt32(message.count)
    return [flag] + [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: length >> $0) } + message
  }

  static let messages: [[UInt8]] = [[], [1], [2, 3, 4, 5, 6, 7], [], [UInt8](0..<40)]

  @Test func cutAnywhereGivesTheSameMessages() {
    let stream = Self.messages.flatMap { Self.frame($0) }
    for cut in 0...stream.count {
      for second in [cut, (cut + stream.count) / 2, stream.count] {
        let pieces = [
          [UInt8](stream[..<cut]), [UInt8](stream[cut..<second]), [UInt8](stream[second...]),
        ]
        let outcome = Self.read(pieces)
        #expect(outcome.messages == Self.messages, "cuts \(cut), \(second)")
        #expect(outcome.held == 0)
      }
    }
  }

  @Test func byteByByte() {
    let stream = Self.messages.flatMap { Self.frame($0, flag: 1) }
    let outcome = Self.read(stream.map { [$0] })
    #expect(outcome.messages == Self.messages)
    #expect(outcome.compressed == [true, true, true, true, true])
  }

  @Test func unfinishedMessageIsHeld() {
    let stream = Self.frame([1, 2, 3])
    for length in 0..<stream.count {
      let outcome = Self.read([[UInt8](stream[..<length])])
      #expect(outcome.messages.isEmpty)
      #expect(outcome.held == length)
    }
  }

  @Test(arguments: [false, true])
  func limitHoldsBeforeAnyByteOfTheMessage(isChopped: Bool) {
    let prefix: [UInt8] = [0, 0, 0, 3, 233]
    let outcome = Self.read(isChopped ? prefix.map { [$0] } : [prefix], max: 1000)
    #expect(
      outcome.failure
        == RPCStatus(
          .resourceExhausted,
          "grpc: received message larger than max (1001 vs. 1000)"
        )
    )
    #expect(Self.read([Self.frame([UInt8](repeating: 1, count: 1000))]).failure == nil)
  }

  @Test(arguments: [false, true])
  func unknownFlagIsRefused(isChopped: Bool) {
    let bytes = Self.frame([1], flag: 2)
    let outcome = Self.read(isChopped ? bytes.map { [$0] } : [bytes])
    #expect(outcome.failure == .internal("grpc: received unexpected payload format 2"))
  }

  @Test func resetForgets() {
    var reader = MessageReader()
    [UInt8]([0, 0, 0, 0, 9, 1, 2]).withUnsafeBytes { bytes in
      var data = bytes
      _ = reader.next(from: &data, messageBytesMax: 100)
    }
    reader.reset()
    #expect(reader.heldBytes == 0)
    Self.frame([5]).withUnsafeBytes { bytes in
      var data = bytes
      guard case .message(let message, _) = reader.next(from: &data, messageBytesMax: 100) else {
        Issue.record("no message")
        return
      }
      #expect([UInt8](message) == [5])
    }
  }
}
