import Base
import Raft

/// Names a block of proposals: the event loop it comes from, and which of that loop's blocks it is.
package struct ProposalBlockName: Sendable, Hashable {
  package var loop: Int
  /// Rises from block to block of a loop.
  package var sequence: UInt64

  package init(loop: Int, sequence: UInt64) {
    self.loop = loop
    self.sequence = sequence
  }
}

/// What a replica remembers of proposals between their arrival and the log.
///
/// A member that does not lead sends proposals to the leader, each message for one term and with a
/// number of its own. The leader takes a message only in the term it was made for, and once. So
/// whatever a term's leader did not put into the log before the first entry of a later term never
/// gets there: once such an entry is applied, what was proposed in the earlier term and has no
/// answer is known not to be done, and may be proposed again. Within the term, the message may be sent
/// again as it was.
struct ForwardingDesk {
  /// Proposals that wait for a leader to be known, for a transfer of leadership to end, or for room
  /// on the way to the leader.
  struct Held {
    var requests: [SharedBytes]
    var byteCount: Int
    /// None for what no event loop waits for.
    var name: ProposalBlockName?
    /// Of what another member sent: its message.
    var origin: Origin?
    /// When it came.
    var tick: UInt64
  }

  /// A message with proposals of another member, which are proposed here in its term or never.
  struct Origin {
    var member: MemberID
    var number: UInt64
    var term: Term
  }

  /// The newest block of an event loop that was proposed in a term.
  struct Run {
    var term: Term
    var sequence: UInt64
  }

  var held: [Held] = []
  var heldBytes = 0
  /// By event loop, terms rising: the blocks without a verdict.
  var runs: [[Run]]
  /// Messages for peers that Raft does not know of.
  var outgoing: [Raft.Message] = []
  /// What was sent to the leader and may have to be sent again.
  var forwarded = ForwardedMessages()
  private let life: UInt64
  private var nextNumber: UInt64 = 1
  private var seen: [MemberID: SeenLives] = [:]
  private var seenTerm = Term.zero

  /// What may wait for a leader: beyond, requests are refused.
  static let heldBytesMax = 64 << 20
  /// How many bits of a message's number count messages; the rest tell one start of the member from
  /// another.
  private static let numberBits: UInt64 = 40

  init(loopCount: Int, epoch: UInt64) {
    runs = Array(repeating: [], count: loopCount)
    life = epoch & (1 << (64 - Self.numberBits) - 1)
  }

  // MARK: To the leader

  /// Whether there is room for another message on the way to the leader.
  func canForward(bytes: Int) -> Bool { forwarded.hasRoom(forBytes: bytes, number: nextNumber) }

  /// Sends a message, which gets its number, and notes it. `pauseTicks` is how long it may be without
  /// a sign of it before it is sent again.
  mutating func forward(
    _ unnumbered: Raft.Message,
    lastRequest: RequestHandle,
    tick: UInt64,
    pauseTicks: UInt64
  ) {
    var message = unnumbered
    message.context = life << Self.numberBits | Self.count(in: nextNumber)
    forwarded.add(
      message,
      number: nextNumber,
      lastRequest: lastRequest,
      tick: tick,
      pauseTicks: pauseTicks
    )
    nextNumber += 1
    outgoing.append(message)
  }

  /// The leader says that a message is in no log; returns whether that is news.
  mutating func noteRefusal(of number: UInt64, in term: Term) -> Bool {
    number >> Self.numberBits == life && term == forwarded.term
      && forwarded.remove(Self.count(in: number))
  }

  private static func count(in number: UInt64) -> UInt64 { number & (1 << numberBits - 1) }

  // MARK: As the leader

  /// Notes that a message came in `term`.
  mutating func arrival(of origin: Origin) -> SeenNumbers.Arrival {
    if origin.term != seenTerm {
      seenTerm = origin.term
      seen = [:]
    }
    return seen[origin.member, default: SeenLives()].insert(
      Self.count(in: origin.number),
      life: origin.number >> Self.numberBits
    )
  }

  /// Notes that what a message asks for is in no log, to say so again when it comes again.
  mutating func noteRefused(_ origin: Origin, _ error: RequestError) {
    guard origin.term == seenTerm else { return }
    seen[origin.member]?.noteRefused(
      Self.count(in: origin.number),
      life: origin.number >> Self.numberBits,
      error
    )
  }

  // MARK: Verdicts

  mutating func noteProposed(_ name: ProposalBlockName?, in term: Term) {
    guard let name, name.loop < runs.count else { return }
    if let last = runs[name.loop].last, last.term == term {
      runs[name.loop][runs[name.loop].count - 1].sequence = name.sequence
    } else {
      runs[name.loop].append(Run(term: term, sequence: name.sequence))
    }
  }

  /// The newest block of each event loop that was proposed before `term`, and forgets them.
  mutating func takeRuns(before term: Term) -> [ProposalBlockName] {
    var names: [ProposalBlockName] = []
    for loop in runs.indices {
      guard let first = runs[loop].first, first.term < term else { continue }
      let count = runs[loop].prefix { $0.term < term }.count
      names.append(ProposalBlockName(loop: loop, sequence: runs[loop][count - 1].sequence))
      runs[loop].removeFirst(count)
    }
    return names
  }
}
