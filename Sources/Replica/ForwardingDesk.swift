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
/// answer is known not to be done, and may be proposed again.
struct ForwardingDesk {
  /// Proposals that wait for a leader to be known, or for a transfer of leadership to end.
  struct Held {
    var requests: [SharedBytes]
    var byteCount: Int
    /// None for what no event loop waits for.
    var name: ProposalBlockName?
    /// For what another member sent: only in this term may it be proposed here.
    var onlyIn: Term?
    /// When it came.
    var tick: UInt64
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
  private let life: UInt64
  private var nextNumber: UInt64 = 1
  private var seen: [MemberID: [SeenNumbers]] = [:]
  private var seenTerm = Term.zero

  /// What may wait for a leader: beyond, requests are refused.
  static let heldBytesMax = 64 << 20
  /// How many bits of a message's number count messages; the rest tell one start of the member from
  /// another.
  private static let numberBits: UInt64 = 40
  /// How many starts of one member are told apart.
  private static let livesMax = 4

  init(loopCount: Int, epoch: UInt64) {
    runs = Array(repeating: [], count: loopCount)
    life = epoch & (1 << (64 - Self.numberBits) - 1)
  }

  /// The number of the next message.
  mutating func takeNumber() -> UInt64 {
    defer { nextNumber += 1 }
    return life << Self.numberBits | nextNumber & (1 << Self.numberBits - 1)
  }

  /// Whether a message of this member's present life has this number.
  func isOwn(_ number: UInt64) -> Bool { number >> Self.numberBits == life }

  /// Notes that a message came in `term`; returns false when it had come before or may have.
  mutating func isNew(_ number: UInt64, from member: MemberID, in term: Term) -> Bool {
    if term != seenTerm {
      seenTerm = term
      seen = [:]
    }
    let life = number >> Self.numberBits
    var lives = seen[member] ?? []
    let position: Int
    if let known = lives.firstIndex(where: { $0.life == life }) {
      position = known
    } else {
      if lives.count == Self.livesMax { lives.removeFirst() }
      lives.append(SeenNumbers(life: life))
      position = lives.count - 1
    }
    let isNew = lives[position].insert(number & (1 << Self.numberBits - 1))
    seen[member] = lives
    return isNew
  }

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

/// The last numbers of messages that came from one life of one member.
struct SeenNumbers {
  let life: UInt64
  private var highest: UInt64 = 0
  private var words = [UInt64](repeating: 0, count: SeenNumbers.span / 64)

  /// Messages that come later than so many others are taken for repeated ones.
  private static let span = 4096

  init(life: UInt64) {
    self.life = life
  }

  /// Returns whether the number is new.
  mutating func insert(_ number: UInt64) -> Bool {
    let span = UInt64(Self.span)
    if number > highest {
      if number - highest >= span {
        for index in words.indices { words[index] = 0 }
      } else {
        for skipped in highest + 1...number { clear(skipped) }
      }
      highest = number
    } else if highest - number >= span {
      return false
    }
    let (word, bit) = Self.place(of: number)
    if words[word] & bit != 0 { return false }
    words[word] |= bit
    return true
  }

  private mutating func clear(_ number: UInt64) {
    let (word, bit) = Self.place(of: number)
    words[word] &= ~bit
  }

  private static func place(of number: UInt64) -> (word: Int, bit: UInt64) {
    (Int(number % UInt64(span)) / 64, 1 << (number % 64))
  }
}
