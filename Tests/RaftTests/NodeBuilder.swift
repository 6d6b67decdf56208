import Base
import Raft

/// A node as a test wants it: member 1, with a log of the given terms.
func makeNode(
  voters: ClosedRange<UInt64> = 1...3,
  terms: [UInt64] = [],
  term: UInt64? = nil,
  vote: UInt64 = 0,
  commit: UInt64 = 0,
  seed: UInt64 = 1,
  configure: (inout RaftConfiguration) -> Void = { _ in }
) throws -> RaftNode {
  var configuration = RaftConfiguration(id: MemberID(1))
  configuration.preVote = false
  configuration.checkQuorum = false
  configure(&configuration)
  let restored = RestoredState(
    hardState: HardState(
      term: Term(term ?? terms.last ?? 0),
      vote: MemberID(vote),
      commit: LogIndex(commit)
    ),
    confState: ConfState(voters: voters.map { MemberID($0) }),
    entries: makeEntries(terms)
  )
  return try RaftNode(configuration: configuration, restored: restored, seed: seed)
}

/// Entries of the given terms after `index`; the content says the index and the term.
func makeEntries(_ terms: [UInt64], after index: UInt64 = 0) -> [Entry] {
  terms.enumerated().map { offset, term in
    let position = index + UInt64(offset) + 1
    return Entry(
      term: Term(term),
      index: LogIndex(position),
      payload: .normal(SharedBytes(Array("\(position)/\(term)".utf8)))
    )
  }
}

/// A message to member 1.
func makeMessage(
  _ kind: Message.Kind,
  from: UInt64 = 2,
  term: UInt64,
  index: UInt64 = 0,
  logTerm: UInt64 = 0,
  commit: UInt64 = 0,
  entries: [Entry] = [],
  reject: Bool = false,
  context: UInt64 = 0
) -> Message {
  var message = Message(kind, from: MemberID(from), to: MemberID(1), term: Term(term))
  message.index = LogIndex(index)
  message.logTerm = Term(logTerm)
  message.commit = LogIndex(commit)
  message.entries = entries
  message.reject = reject
  message.context = context
  return message
}

extension RaftNode {
  /// Does all the work there is, with a disk that is at once done; returns the messages.
  mutating func drain() -> [Message] {
    var sent: [Message] = []
    while hasReady {
      let ready = ready()
      sent += ready.messages
      persisted(through: ready.sequence)
      sent += ready.messagesAfterPersist
      if let snapshot = ready.snapshotToInstall { snapshotInstalled(at: snapshot.index) }
      for entry in ready.committedEntries {
        if case .configuration(let change) = entry.payload { applyConfChange(change) }
      }
      if let last = ready.committedEntries.last { applied(through: last.index) }
    }
    return sent
  }

  /// Wins an election with the vote of member 2 (a sole voter needs none).
  mutating func lead() throws {
    campaign()
    _ = drain()
    if role != .leader { try step(makeMessage(.voteResp, term: term.rawValue)) }
  }

  var termsOfLog: [UInt64] { entries.map { $0.term.rawValue } }
}
