import Base
import Peer
import Raft
import Testing

@Suite struct QueueTests {
  static func message(_ number: UInt64, bytes: Int = 0) -> Raft.Message {
    var message = Raft.Message(.app, from: MemberID(1), to: MemberID(2), term: Term(1))
    message.index = LogIndex(number)
    if bytes > 0 {
      message.entries = [
        Entry(
          term: Term(1),
          index: LogIndex(number + 1),
          payload: .normal(SharedBytes([UInt8](repeating: 0, count: bytes)))
        )
      ]
    }
    return message
  }

  @Test func messagesLeaveInOrderAndInBatches() {
    var queue = OutboundQueue(messagesMax: 100, bytesMax: 1 << 20)
    for number in 0..<10 {
      let isTaken = queue.append(Self.message(UInt64(number), bytes: 1000))
      #expect(isTaken)
    }
    var seen: [UInt64] = []
    var batches = 0
    while !queue.isEmpty {
      let batch = queue.takeBatch(bytesMax: 3500)
      #expect(batch.count <= 3)
      seen += batch.map(\.index.rawValue)
      batches += 1
    }
    #expect(seen == Array(0..<10))
    #expect(batches == 4)
    #expect(queue.bytes == 0)
  }

  @Test func boundsAreKept() {
    var byCount = OutboundQueue(messagesMax: 3, bytesMax: 1 << 20)
    let taken = (0..<5).map { byCount.append(Self.message($0)) }
    #expect(taken == [true, true, true, false, false])
    let batch = byCount.takeBatch(bytesMax: .max)
    #expect(batch.map(\.index.rawValue) == [0, 1, 2])
    let hasRoomAgain = byCount.append(Self.message(9))
    #expect(hasRoomAgain)

    var byBytes = OutboundQueue(messagesMax: 100, bytesMax: 5000)
    let results = [4000, 4000, 0].map { byBytes.append(Self.message(0, bytes: $0)) }
    #expect(results == [true, false, true])
  }

  /// One message always goes: else an entry larger than the bound would never be replicated.
  @Test func aMessageLargerThanTheBoundsIsTakenAlone() {
    var queue = OutboundQueue(messagesMax: 10, bytesMax: 1000)
    let results = [50_000, 0].map { queue.append(Self.message(0, bytes: $0)) }
    #expect(results == [true, false])
    let batch = queue.takeBatch(bytesMax: 100)
    #expect(batch.count == 1)
    #expect(queue.isEmpty && queue.bytes == 0)
  }

  @Test(arguments: 0..<20) func theWeightIsThatOfWhatIsThere(seed: UInt64) {
    var random = SplitMix64(seed: seed)
    var queue = OutboundQueue(messagesMax: 50, bytesMax: 20_000)
    var model: [Raft.Message] = []
    for step in 0..<300 {
      if random.next() % 3 > 0 {
        let message = Self.message(UInt64(step), bytes: Int(random.next() % 2000))
        if queue.append(message) { model.append(message) }
      } else {
        let batch = queue.takeBatch(bytesMax: Int(random.next() % 5000))
        #expect(batch.map(\.index) == model.prefix(batch.count).map(\.index), "seed \(seed)")
        #expect(batch.isEmpty == model.isEmpty, "seed \(seed)")
        model.removeFirst(batch.count)
      }
      let weight = model.reduce(0) { $0 + OutboundQueue.weight(of: $1) }
      #expect(queue.count == model.count && queue.bytes == weight, "seed \(seed) step \(step)")
      #expect(queue.count <= 50 && (queue.bytes <= 20_000 || queue.count == 1), "seed \(seed)")
    }
  }
}
