package import Raft

/// Messages that wait for one stream to a peer, bounded in number and weight.
package struct OutboundQueue {
  private var messages: [Raft.Message] = []
  private var head = 0
  private let messagesMax: Int
  private let bytesMax: Int
  /// The weight of what waits.
  package private(set) var bytes = 0

  package var count: Int { messages.count - head }
  package var isEmpty: Bool { count == 0 }

  /// What a message weighs besides its entries.
  static let messageOverheadBytes = 128

  package init(messagesMax: Int, bytesMax: Int) {
    self.messagesMax = messagesMax
    self.bytesMax = bytesMax
  }

  package static func weight(of message: Raft.Message) -> Int {
    var bytes = messageOverheadBytes
    for entry in message.entries { bytes += entry.size }
    return bytes
  }

  /// Returns false, and drops the message, when there is no room. One message always has.
  package mutating func append(_ message: Raft.Message) -> Bool {
    let weight = Self.weight(of: message)
    guard isEmpty || (count < messagesMax && bytes + weight <= bytesMax) else { return false }
    messages.append(message)
    bytes += weight
    return true
  }

  /// Takes the oldest messages, up to `batchBytesMax` of weight, but at least one.
  package mutating func takeBatch(bytesMax batchBytesMax: Int) -> [Raft.Message] {
    var taken = 0
    var end = head
    while end < messages.count {
      let weight = Self.weight(of: messages[end])
      if end > head && taken + weight > batchBytesMax { break }
      taken += weight
      end += 1
    }
    bytes -= taken
    if end == messages.count {
      defer { removeAll() }
      return head == 0 ? messages : Array(messages[head...])
    }
    let batch = Array(messages[head..<end])
    head = end
    // What was taken must not stay in memory behind the head.
    if head > messages.count / 2 {
      messages.removeFirst(head)
      head = 0
    }
    return batch
  }

  /// Removes all but proposals.
  package mutating func keepProposals() {
    messages = messages[head...].filter { $0.kind == .propose }
    head = 0
    bytes = messages.reduce(0) { $0 + Self.weight(of: $1) }
  }

  package mutating func removeAll() {
    messages = []
    head = 0
    bytes = 0
  }
}
