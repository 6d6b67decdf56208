import Base
import Raft
import Testing

/// Random small inputs against computations that are too simple to be wrong.
@Suite struct QuickCheckTests {
  private static func someVoters(_ random: inout SplitMix64) -> [MemberID] {
    (1...8).filter { _ in Bool.random(using: &random) }.map { MemberID(UInt64($0)) }
  }

  /// The highest value in 0...12 that more than half have reached.
  private static func naiveAgreed(_ voters: [MemberID], _ reached: [UInt64]) -> UInt64 {
    if voters.isEmpty { return .max }
    var best: UInt64 = 0
    for value: UInt64 in 0...12 {
      let count = voters.filter { reached[Int($0.rawValue)] >= value }.count
      if count * 2 > voters.count { best = value }
    }
    return best
  }

  /// Tries every way in which missing votes can still fall.
  private static func naiveResult(_ voters: [MemberID], _ votes: [Bool?]) -> VoteResult {
    let missing = voters.filter { votes[Int($0.rawValue)] == nil }
    let yes = voters.filter { votes[Int($0.rawValue)] == true }.count
    if voters.isEmpty { return .won }
    var outcomes: Set<Bool> = []
    for more in 0...missing.count { outcomes.insert((yes + more) * 2 > voters.count) }
    return outcomes.count == 2 ? .pending : (outcomes.contains(true) ? .won : .lost)
  }

  @Test func quorums() {
    for seed in 1...4000 {
      var random = SplitMix64(seed: UInt64(seed))
      let incoming = Self.someVoters(&random)
      let outgoing = Bool.random(using: &random) ? Self.someVoters(&random) : []
      let reached = (0...8).map { _ in UInt64.random(in: 0...12, using: &random) }
      let votes: [Bool?] = (0...8).map { _ in
        [true, false, nil].randomElement(using: &random) ?? nil
      }
      let quorum = JointQuorum(ConfState(voters: incoming, votersOutgoing: outgoing))
      let naive = min(Self.naiveAgreed(incoming, reached), Self.naiveAgreed(outgoing, reached))
      #expect(quorum.agreed { reached[Int($0.rawValue)] } == naive, "seed \(seed)")
      let halves = [Self.naiveResult(incoming, votes), Self.naiveResult(outgoing, votes)]
      let expected: VoteResult =
        halves.contains(.lost) ? .lost : (halves.contains(.pending) ? .pending : .won)
      #expect(quorum.result { votes[Int($0.rawValue)] } == expected, "seed \(seed)")
    }
  }

  /// A log, its writes and its disk as plain arrays. Entries are told apart by their content, which
  /// is never used twice.
  private struct Model {
    var log: [Entry] = []
    var disk: [Entry] = []
    var handedOut = 0
    var writes: [[Entry]] = []
    var committed = 0

    /// How much of the log the disk has: the very entries, not some that look like them.
    var durable: Int {
      zip(log, disk).prefix { $0.payload == $1.payload }.count
    }

    mutating func merge(_ new: [Entry]) {
      for entry in new {
        let at = Int(entry.index.rawValue) - 1
        if at < log.count, log[at].term == entry.term { continue }
        log = Array(log.prefix(at)) + [entry]
        handedOut = min(handedOut, at)
      }
    }

    mutating func handOut() -> [Entry] {
      let new = Array(log[handedOut...])
      handedOut = log.count
      writes.append(new)
      return new
    }

    mutating func persistFirst() {
      let write = writes.removeFirst()
      guard let first = write.first else { return }
      disk = Array(disk.prefix(Int(first.index.rawValue) - 1)) + write
    }
  }

  @Test func logAgainstArrays() throws {
    for seed in 1...800 {
      var random = SplitMix64(seed: UInt64(seed))
      var log = RaftLog()
      var model = Model()
      var content: UInt64 = 0
      var handed: UInt64 = 0
      for _ in 0..<60 {
        switch Int.random(in: 0..<6, using: &random) {
        case 0, 1:
          let after = Int.random(in: model.committed...model.log.count, using: &random)
          var term = after > 0 ? model.log[after - 1].term.rawValue : 1
          var new: [Entry] = []
          for offset in 0..<Int.random(in: 0...4, using: &random) {
            term += UInt64.random(in: 0...1, using: &random)
            content += 1
            new.append(
              Entry(
                term: Term(term),
                index: LogIndex(UInt64(after + offset + 1)),
                payload: .normal(SharedBytes(withUnsafeBytes(of: content) { Array($0) }))
              )
            )
          }
          try log.merge(new)
          model.merge(new)
        case 2, 3:
          handed += 1
          #expect(log.handOut(sequence: handed) == model.handOut(), "seed \(seed)")
        case 4:
          guard !model.writes.isEmpty else { break }
          log.persisted(through: handed - UInt64(model.writes.count) + 1)
          model.persistFirst()
        default:
          model.committed = Int.random(in: model.committed...model.log.count, using: &random)
          log.commit(through: LogIndex(UInt64(model.committed)))
          _ = log.takeApplicable(bytesMax: 40)
          log.applied(through: log.applying)
          log.compact(
            through: LogIndex(UInt64.random(in: 0...log.applied.rawValue, using: &random))
          )
        }
        try Self.compare(log, model, &random, seed)
      }
    }
  }

  private static func compare(
    _ log: RaftLog,
    _ model: Model,
    _ random: inout SplitMix64,
    _ seed: Int
  ) throws {
    let count = UInt64(model.log.count)
    #expect(log.lastIndex == LogIndex(count), "seed \(seed)")
    #expect(log.lastTerm == model.log.last?.term ?? .zero, "seed \(seed)")
    // What a write under way will remove is gone from the log already, so it is not counted.
    #expect(log.durable.rawValue <= UInt64(model.durable), "seed \(seed)")
    if model.writes.isEmpty {
      #expect(log.durable == LogIndex(UInt64(model.durable)), "seed \(seed)")
    }
    #expect(log.applied <= log.applicable, "seed \(seed)")
    for entry in model.log where entry.index > log.offset {
      #expect(log.term(at: entry.index) == entry.term, "seed \(seed)")
    }
    #expect(
      log.slice(after: log.offset, through: log.lastIndex, bytesMax: .max)
        == Array(model.log[Int(log.offset.rawValue)...]),
      "seed \(seed)"
    )
    let bound = UInt64.random(in: log.offset.rawValue...(count + 2), using: &random)
    let term = Term(UInt64.random(in: 0...10, using: &random))
    let (index, found) = log.agreement(notAbove: LogIndex(bound), term)
    let naive = model.log.prefix(Int(min(bound, count))).last { $0.term <= term }
    if let naive, naive.index > log.offset {
      #expect(index == naive.index && found == naive.term, "seed \(seed)")
    } else {
      #expect(index <= log.offset, "seed \(seed)")
    }
  }

  @Test func membershipChanges() {
    let kinds: [ConfChange.Kind] = [.addVoter, .addLearner, .removeNode, .updateNode]
    for seed in 1...1000 {
      var random = SplitMix64(seed: UInt64(seed))
      var state = ConfState(voters: [MemberID(1), MemberID(2), MemberID(3)])
      for _ in 0..<20 {
        var change = ConfChange(changes: [])
        for _ in 0..<Int.random(in: 0...3, using: &random) {
          let member = MemberID(UInt64.random(in: 1...6, using: &random))
          change.changes.append(.init(kinds.randomElement(using: &random) ?? .updateNode, member))
        }
        change.transition = Int.random(in: 0..<3, using: &random) == 0 ? .jointExplicit : .auto
        guard let next = try? ConfChanger.apply(change, to: state) else { continue }
        #expect(ConfChanger.isValid(next), "seed \(seed)")
        #expect(!next.voters.isEmpty, "seed \(seed)")
        // The old and the new quorums always meet: either by one voter's difference, or because the
        // joint one contains a majority of each.
        let difference = Set(state.voters).symmetricDifference(next.voters)
        if next.votersOutgoing.isEmpty, state.votersOutgoing.isEmpty {
          #expect(difference.count <= 1, "seed \(seed)")
        } else if state.votersOutgoing.isEmpty {
          #expect(next.votersOutgoing == state.voters, "seed \(seed)")
        } else {
          #expect(difference.isEmpty, "seed \(seed)")
        }
        state = next
      }
    }
  }
}
