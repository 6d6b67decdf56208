import Base
import DequeModule

/// The messages with entries that are under way to one peer, oldest first.
struct Inflights: Sendable {
  private var messages: Deque<Message> = []
  private(set) var bytes = 0

  private struct Message {
    var lastIndex: LogIndex
    var bytes: Int
  }

  var count: Int { messages.count }

  /// Whether no further message may be sent. Beyond the limit in bytes goes at most one message.
  func isFull(messagesMax: Int, bytesMax: Int) -> Bool {
    messages.count >= messagesMax || bytes >= bytesMax
  }

  /// A message left whose last entry is `lastIndex`.
  mutating func add(lastIndex: LogIndex, bytes added: Int) {
    messages.append(Message(lastIndex: lastIndex, bytes: added))
    bytes += added
  }

  /// Everything through `index` has arrived.
  mutating func release(through index: LogIndex) {
    while let first = messages.first, first.lastIndex <= index {
      bytes -= first.bytes
      messages.removeFirst()
    }
  }

  /// Gives up the oldest message, which makes room for one.
  mutating func releaseFirst() {
    guard let first = messages.popFirst() else { return }
    bytes -= first.bytes
  }

  mutating func removeAll() {
    messages.removeAll()
    bytes = 0
  }
}
