import Base
import Raft

/// What a member that does not lead has sent to the leader of a term and not seen applied yet.
///
/// The leader takes each message once, by its number, so a message that may be lost is sent again as
/// it was: at once when a new stream to the leader stands, and after a while in any case, as the leader
/// and the streams drop what they have no room for. A message counts as done when the last of its
/// requests is applied here: the leader puts all of them into the log in one piece.
struct ForwardedMessages {
  private struct Sent {
    var message: Raft.Message
    var lastRequest: RequestHandle
    var bytes: Int
    var firstTick: UInt64
    /// When it is sent again unless it is done, and how long after the time before.
    var dueTick: UInt64
    var pauseTicks: UInt64
  }

  /// In what term the messages may be taken.
  private(set) var term = Term.zero
  /// The weight of the messages' requests.
  private(set) var bytes = 0
  /// By number, from `firstNumber` on; nil for what is done or was never to be repeated.
  private var slots: [Sent?] = []
  private var firstNumber: UInt64 = 0
  /// Where the oldest message is; what is before it is done.
  private var head = 0
  /// The numbers of the messages, by their last request.
  private var numbers: [RequestHandle: UInt64] = [:]

  /// What messages weigh together at most: then no others are sent.
  static let bytesMax = 64 << 20
  /// How much is sent again in one tick because of its age: a leader that is late must not be buried.
  static let resentBytesPerTickMax = 1 << 20

  var isEmpty: Bool { numbers.isEmpty }

  /// Whether another message may be sent: the leader must be able to tell whether the oldest is new.
  func hasRoom(forBytes more: Int, number: UInt64) -> Bool {
    guard head < slots.count else { return true }
    return bytes + more <= Self.bytesMax
      && number - (firstNumber + UInt64(head)) < SeenNumbers.span / 2
  }

  /// Notes a message. The numbers of messages follow each other. `lastRequest` is `.none` where nobody
  /// waits: whoever proposed that does so again.
  mutating func add(
    _ message: Raft.Message,
    number: UInt64,
    lastRequest: RequestHandle,
    tick: UInt64,
    pauseTicks: UInt64
  ) {
    if message.logTerm != term {
      self = ForwardedMessages()
      term = message.logTerm
    }
    if head == slots.count {
      slots.removeAll(keepingCapacity: true)
      head = 0
      firstNumber = number
    }
    precondition(number == firstNumber + UInt64(slots.count), "message \(number) is out of turn")
    guard lastRequest != .none else { return slots.append(nil) }
    let weight = message.entries.reduce(0) { $0 + $1.size }
    bytes += weight
    numbers[lastRequest] = number
    slots.append(
      Sent(
        message: message,
        lastRequest: lastRequest,
        bytes: weight,
        firstTick: tick,
        dueTick: tick + pauseTicks,
        pauseTicks: pauseTicks
      )
    )
  }

  /// An entry with a request of this member's clients, or with none, was applied.
  mutating func noteApplied(_ request: RequestHandle) {
    guard request != .none, let number = numbers[request] else { return }
    remove(number)
  }

  /// Takes the message of a number out; returns false when it was done.
  @discardableResult
  mutating func remove(_ number: UInt64) -> Bool {
    guard number >= firstNumber, number - firstNumber < UInt64(slots.count) else { return false }
    let position = Int(number - firstNumber)
    guard let sent = slots[position] else { return false }
    slots[position] = nil
    numbers[sent.lastRequest] = nil
    bytes -= sent.bytes
    dropDone()
    return true
  }

  /// Drops what was sent first before a tick: nobody waits for it any more.
  mutating func removeSent(before tick: UInt64) {
    while head < slots.count {
      if let sent = slots[head] {
        guard sent.firstTick < tick else { return }
        numbers[sent.lastRequest] = nil
        bytes -= sent.bytes
        slots[head] = nil
      }
      head += 1
    }
  }

  /// All messages, to be sent again at `tick`.
  mutating func resendAll(at tick: UInt64) -> [Raft.Message] {
    resend(at: tick, bytesMax: .max) { _ in true }
  }

  /// The messages that are due at `tick`.
  mutating func resendDue(at tick: UInt64) -> [Raft.Message] {
    resend(at: tick, bytesMax: Self.resentBytesPerTickMax) { $0.dueTick <= tick }
  }

  private mutating func resend(
    at tick: UInt64,
    bytesMax: Int,
    where isWanted: (Sent) -> Bool
  ) -> [Raft.Message] {
    var messages: [Raft.Message] = []
    var bytes = 0
    for position in head..<slots.count {
      guard let sent = slots[position], isWanted(sent) else { continue }
      if bytes > 0, bytes + sent.bytes > bytesMax { break }
      bytes += sent.bytes
      messages.append(sent.message)
      slots[position]?.pauseTicks = 2 * sent.pauseTicks
      slots[position]?.dueTick = tick + 2 * sent.pauseTicks
    }
    return messages
  }

  private mutating func dropDone() {
    while head < slots.count, slots[head] == nil { head += 1 }
    // What is done must not stay in memory behind the head.
    guard head > slots.count / 2 else { return }
    slots.removeFirst(head)
    firstNumber += UInt64(head)
    head = 0
  }
}
