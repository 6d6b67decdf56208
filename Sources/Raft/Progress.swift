package import Base

/// What a leader knows of one peer's log.
///
/// `match < next`. In `probe` one message is sent and its answer awaited; in `replicate` messages
/// follow one another without waiting; in `snapshot` none are sent until the snapshot's fate is known.
struct Progress: Sendable {
  enum State: Sendable, Hashable {
    case probe
    case replicate
    /// A snapshot that ends at this index is under way.
    case snapshot(LogIndex)
  }

  /// The last entry known to be durable in the peer's log, which matches the leader's up to there.
  var match: LogIndex

  /// The next entry to send.
  var next: LogIndex

  private(set) var state: State = .probe

  /// In `probe`: a message was sent and not answered.
  var isProbeSent = false

  /// In `replicate`: an empty message is wanted to find out whether entries were lost.
  var wantsNudge = false

  /// The highest commit index sent in this state.
  var commitSent = LogIndex.zero

  /// Whether the peer was heard since the last check of the quorum.
  var isRecentlyActive = false

  /// Learners get entries and do not count.
  var isLearner: Bool

  /// The highest read round whose heartbeat the peer answered in this term.
  var readRound: UInt64 = 0

  var inflights = Inflights()

  init(match: LogIndex = .zero, next: LogIndex, isLearner: Bool) {
    self.match = match
    self.next = next
    self.isLearner = isLearner
  }

  private mutating func enter(_ state: State) {
    self.state = state
    isProbeSent = false
    wantsNudge = false
    commitSent = .zero
    inflights.removeAll()
  }

  mutating func becomeProbe() {
    // After a snapshot that arrived, what follows it is the place to go on.
    if case .snapshot(let index) = state {
      next = max(match + 1, index + 1)
    } else {
      next = match + 1
    }
    enter(.probe)
  }

  mutating func becomeReplicate() {
    next = match + 1
    enter(.replicate)
  }

  mutating func becomeSnapshot(_ index: LogIndex) { enter(.snapshot(index)) }

  /// The snapshot under way did not arrive.
  mutating func abandonSnapshot() {
    enter(.probe)
    next = match + 1
  }

  /// The peer's log matches through `index`. Returns whether that was news.
  mutating func acknowledge(_ index: LogIndex) -> Bool {
    next = max(next, index + 1)
    guard index > match else { return false }
    match = index
    isProbeSent = false
    return true
  }

  /// The peer's log does not match at `index`; `hint` is the next place to try. Returns false for an
  /// answer to an older question, which changes nothing.
  mutating func reject(_ index: LogIndex, hint: LogIndex) -> Bool {
    switch state {
    case .replicate:
      guard index > match else { return false }
      becomeProbe()
      return true
    case .probe, .snapshot:
      guard next - 1 == index else { return false }
      next = max(min(index, hint + 1), match + 1)
      isProbeSent = false
      return true
    }
  }
}

/// What a leader knows of one peer, for status answers and metrics.
package struct PeerStatus: Sendable, Hashable {
  /// Whether messages with entries flow, are tried one by one, or wait for a snapshot.
  package enum State: UInt8, Sendable, Hashable {
    case probe
    case replicate
    case snapshot
  }

  package var id: MemberID
  /// The last entry known to be durable there.
  package var match: LogIndex
  /// The next entry to send there.
  package var next: LogIndex
  package var state: State
  package var isLearner: Bool
  /// Whether it was heard since the last check of the quorum.
  package var isRecentlyActive: Bool
  /// Messages with entries that were sent and not answered.
  package var inflightMessages: Int

  init(id: MemberID, _ progress: Progress) {
    self.id = id
    match = progress.match
    next = progress.next
    state =
      switch progress.state {
      case .probe: .probe
      case .replicate: .replicate
      case .snapshot: .snapshot
      }
    isLearner = progress.isLearner
    isRecentlyActive = progress.isRecentlyActive
    inflightMessages = progress.inflights.count
  }
}
