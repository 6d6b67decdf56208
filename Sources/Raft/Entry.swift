package import Base

/// One record of the replicated log.
package struct Entry: Sendable, Equatable {
  /// The term of the leader that made the entry.
  package var term: Term

  /// The entry's position; consecutive entries have consecutive indexes.
  package var index: LogIndex

  /// What the state machine gets once the entry is committed.
  package var payload: Payload

  package init(term: Term, index: LogIndex, payload: Payload) {
    self.term = term
    self.index = index
    self.payload = payload
  }

  /// The entry's weight in every byte limit: its content and what it adds in a message.
  package var size: Int { payload.size + Self.overheadBytes }

  /// The weight of an entry without content. It keeps a flood of empty entries limited as well.
  package static let overheadBytes = 16
}

/// The content of an entry.
package enum Payload: Sendable, Equatable {
  /// Nothing: a leader's first entry, and the start of a log.
  case empty

  /// Bytes that only the state machine understands.
  case normal(SharedBytes)

  /// A change of the membership.
  indirect case configuration(ConfChange)

  /// How many bytes of content there are.
  package var size: Int {
    switch self {
    case .empty: 0
    case .normal(let bytes): bytes.count
    case .configuration(let change): change.size
    }
  }

  /// Whether this is a change of the membership.
  package var isConfiguration: Bool {
    if case .configuration = self { return true }
    return false
  }
}
