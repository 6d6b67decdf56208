import Base
import DequeModule

/// A read request that a leader has to answer.
struct ReadRequest: Sendable {
  /// Who asked; this node itself for its own reads.
  var from: MemberID
  var context: UInt64
}

/// A leader's read requests: those that wait for the next round of heartbeats, and the rounds that
/// are under way.
///
/// A request joins only a round whose heartbeats have not left: an answer sent before the request
/// came would prove nothing about the time since. Rounds have rising numbers, so an answer to one
/// counts for all before it.
struct ReadRounds: Sendable {
  struct Round: Sendable {
    var number: UInt64
    /// The committed index when the round started.
    var index: LogIndex
    var requests: [ReadRequest]
  }

  var waiting: [ReadRequest] = []
  private var underway: Deque<Round> = []
  private var underwayCount = 0
  private(set) var lastNumber: UInt64 = 0

  /// How many rounds may be under way; requests that come then wait for the oldest to end.
  static let roundsMax = 16

  /// All requests that are not answered.
  var count: Int { waiting.count + underwayCount }

  var canStart: Bool { !waiting.isEmpty && underway.count < Self.roundsMax }

  /// Starts a round for all that wait and returns its number.
  mutating func start(index: LogIndex) -> UInt64 {
    lastNumber += 1
    underwayCount += waiting.count
    underway.append(Round(number: lastNumber, index: index, requests: waiting))
    waiting = []
    return lastNumber
  }

  /// The oldest round, if a quorum has answered it.
  mutating func takeConfirmed(through number: UInt64) -> Round? {
    guard let first = underway.first, first.number <= number else { return nil }
    underwayCount -= first.requests.count
    return underway.popFirst()
  }

  /// Forgets everything and returns the requests that are without an answer now. Numbers go on, so
  /// a late answer from an earlier leadership confirms nothing.
  mutating func removeAll() -> [ReadRequest] {
    var lost: [ReadRequest] = []
    for round in underway { lost += round.requests }
    lost += waiting
    waiting = []
    underway.removeAll()
    underwayCount = 0
    return lost
  }
}

/// A follower's read requests: one question to the leader stands for all that came since the last.
struct ForwardedReads: Sendable {
  private struct Question: Sendable {
    var id: UInt64
    var tick: UInt64
    var contexts: [UInt64]
  }

  /// Requests for the next question.
  var waiting: [UInt64] = []
  private var asked: Deque<Question> = []
  private var askedCount = 0
  private var nextID: UInt64

  /// `firstID` must differ from one start of the member to the next, else an answer to a question
  /// from before a restart could be taken for a newer one.
  init(firstID: UInt64) {
    nextID = firstID
  }

  var count: Int { waiting.count + askedCount }

  /// Makes one question of all that wait and returns its ID.
  mutating func ask(tick: UInt64) -> UInt64 {
    let id = nextID
    nextID &+= 1
    askedCount += waiting.count
    asked.append(Question(id: id, tick: tick, contexts: waiting))
    waiting = []
    return id
  }

  /// The requests behind a question, which is now answered. Empty for an unknown one.
  mutating func takeAnswered(id: UInt64) -> [UInt64] {
    guard let position = asked.firstIndex(where: { $0.id == id }) else { return [] }
    let question = asked.remove(at: position)
    askedCount -= question.contexts.count
    return question.contexts
  }

  /// The requests behind questions that were asked at `tick` or before.
  mutating func takeExpired(through tick: UInt64) -> [UInt64] {
    var expired: [UInt64] = []
    while let first = asked.first, first.tick <= tick {
      askedCount -= first.contexts.count
      expired += first.contexts
      asked.removeFirst()
    }
    return expired
  }

  mutating func removeAll() -> [UInt64] {
    var lost = takeExpired(through: .max)
    lost += waiting
    waiting = []
    return lost
  }
}
