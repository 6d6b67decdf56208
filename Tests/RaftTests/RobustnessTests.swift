import Base
import Raft
import Testing

/// Input that no working member sends, limits, and starts from damaged state.
@Suite struct RobustnessTests {
  private static func number(_ random: inout SplitMix64) -> UInt64 {
    switch Int.random(in: 0..<10, using: &random) {
    case 0: UInt64.random(in: 0...UInt64.max, using: &random)
    case 1: Message.numberMax - UInt64.random(in: 0...2, using: &random)
    case 2: UInt64.max
    default: UInt64.random(in: 0...6, using: &random)
    }
  }

  private static func garbage(_ random: inout SplitMix64) -> Message {
    let kinds: [Message.Kind] = [
      .propose, .app, .appResp, .vote, .voteResp, .snapshot, .heartbeat, .heartbeatResp,
      .transferLeader, .timeoutNow, .readIndex, .readIndexResp, .preVote, .preVoteResp,
    ]
    var message = makeMessage(
      kinds.randomElement(using: &random) ?? .app,
      from: UInt64.random(in: 0...5, using: &random),
      term: number(&random),
      index: number(&random),
      logTerm: number(&random),
      commit: number(&random),
      reject: Bool.random(using: &random),
      context: number(&random)
    )
    message.rejectHint = LogIndex(number(&random))
    if message.kind == .propose, Bool.random(using: &random) { message.term = .zero }
    var index = message.index.rawValue
    for _ in 0..<Int.random(in: 0...3, using: &random) {
      index = Int.random(in: 0..<5, using: &random) == 0 ? number(&random) : index &+ 1
      let term = Bool.random(using: &random) ? message.term : Term(number(&random))
      let change = ConfChange(changes: [
        .init(
          Bool.random(using: &random) ? .removeNode : .addLearner,
          MemberID(number(&random))
        )
      ])
      message.entries.append(
        Entry(
          term: term,
          index: LogIndex(index),
          payload: Bool.random(using: &random) ? .empty : .configuration(change)
        )
      )
    }
    if Bool.random(using: &random) {
      let voters = (0..<Int.random(in: 0...3, using: &random)).map { _ in
        MemberID(number(&random))
      }
      message.snapshot = SnapshotMetadata(
        index: LogIndex(number(&random)),
        term: Term(number(&random)),
        confState: ConfState(voters: Bool.random(using: &random) ? voters : [MemberID(1)])
      )
    }
    return message
  }

  @Test("No message, however wrong, crashes a node or makes its log inconsistent")
  func garbageIsHarmless() throws {
    for seed in 1...1500 {
      var random = SplitMix64(seed: UInt64(seed))
      var node = try makeNode(terms: [1, 1, 2], term: 2, seed: UInt64(seed)) {
        $0.preVote = Bool.random(using: &random)
        $0.checkQuorum = Bool.random(using: &random)
      }
      if Bool.random(using: &random) { try? node.lead() }
      var committed: [Entry] = []
      for _ in 0..<40 {
        try? node.step(Self.garbage(&random))
        if Bool.random(using: &random) { node.tick() }
        if Bool.random(using: &random) { _ = node.drain() }
        _ = try? node.propose([SharedBytes([1])])
        let entries = node.entries
        for (left, right) in zip(entries, entries.dropFirst()) {
          #expect(left.index + 1 == right.index && left.term <= right.term, "seed \(seed)")
        }
        if let first = entries.first, let known = committed.first, first.index == known.index {
          #expect(Array(entries.prefix(committed.count)) == committed, "seed \(seed)")
        }
        committed = entries.filter { $0.index <= node.commit }
      }
    }
  }

  @Test("A message to another member, from nobody or from itself is refused")
  func misdirected() throws {
    var node = try makeNode()
    for (from, to): (UInt64, UInt64) in [(2, 3), (0, 1), (1, 1)] {
      let message = Message(.app, from: MemberID(from), to: MemberID(to), term: Term(1))
      #expect(throws: RaftError.misdirected) { try node.step(message) }
    }
    #expect(node.hasReady == false)
  }

  @Test("Entries with gaps or falling terms are refused")
  func malformedEntries() throws {
    var node = try makeNode(terms: [1, 2], term: 2)
    let gap = makeMessage(
      .app,
      term: 2,
      index: 2,
      logTerm: 2,
      entries: makeEntries([2], after: 3)
    )
    #expect(throws: RaftError.malformed) { try node.step(gap) }
    let falling = makeMessage(
      .app,
      term: 2,
      index: 2,
      logTerm: 2,
      entries: makeEntries([1], after: 2)
    )
    #expect(throws: RaftError.malformed) { try node.step(falling) }
    let future = makeMessage(
      .app,
      term: 2,
      index: 2,
      logTerm: 2,
      entries: makeEntries([3], after: 2)
    )
    #expect(throws: RaftError.malformed) { try node.step(future) }
    #expect(node.lastIndex == LogIndex(2))
  }

  @Test("A commit or an acknowledgement beyond the log is refused")
  func beyondLog() throws {
    var node = try makeNode(terms: [1], term: 1)
    #expect(throws: RaftError.beyondLog) {
      try node.step(makeMessage(.heartbeat, term: 1, commit: 2))
    }
    #expect(node.commit == .zero)
    try node.lead()
    #expect(throws: RaftError.beyondLog) {
      try node.step(makeMessage(.appResp, term: 2, index: 3))
    }
    #expect(throws: RaftError.outOfRange) {
      try node.step(makeMessage(.appResp, term: 2, index: .max))
    }
    // Above all the term, which the next election would add to.
    #expect(throws: RaftError.outOfRange) { try node.step(makeMessage(.vote, term: .max)) }
  }

  @Test("A damaged state is refused at the start, and says why")
  func restoreErrors() throws {
    #expect(throws: RestoreError.commit) { _ = try makeNode(terms: [1], commit: 2) }
    #expect(throws: RestoreError.entries) { _ = try makeNode(terms: [2, 1], term: 2) }
    #expect(throws: RestoreError.entries) { _ = try makeNode(terms: [2], term: 1) }
    let configuration = RaftConfiguration(id: MemberID(1))
    let states: [(RestoredState, RestoreError)] = [
      (RestoredState(applied: LogIndex(1)), .applied),
      (RestoredState(snapshotIndex: LogIndex(3)), .applied),
      (
        RestoredState(hardState: HardState(term: Term(1)), entries: makeEntries([1], after: 1)),
        .entries
      ),
      (RestoredState(confState: ConfState(voters: [MemberID(2), MemberID(1)])), .membership),
      (RestoredState(confState: ConfState(autoLeave: true)), .membership),
    ]
    for (state, error) in states {
      #expect(throws: error) {
        _ = try RaftNode(configuration: configuration, restored: state, seed: 1)
      }
    }
  }

  @Test("Each limit of the configuration is checked")
  func configurationErrors() throws {
    func check(_ error: RaftConfigurationError, _ change: (inout RaftConfiguration) -> Void) {
      var configuration = RaftConfiguration(id: MemberID(1))
      change(&configuration)
      #expect(throws: error) { try configuration.check() }
    }
    try RaftConfiguration(id: MemberID(1)).check()
    check(.noID) { $0 = RaftConfiguration(id: .none) }
    check(.heartbeatTimeout) { $0.heartbeatTimeoutTicks = 0 }
    check(.electionTimeout) { $0.electionTimeoutTicks = 1 }
    check(.electionTimeout) { $0.electionTimeoutTicks = .max }
    check(.limit("inflightMessagesMax")) { $0.inflightMessagesMax = 0 }
    check(.limit("inflightBytesMax")) { $0.inflightBytesMax = 0 }
    check(.limit("messageBytesMax")) { $0.messageBytesMax = 0 }
    check(.limit("uncommittedBytesMax")) { $0.uncommittedBytesMax = -1 }
    check(.limit("committedBytesMax")) { $0.committedBytesMax = 0 }
    check(.limit("readRequestsMax")) { $0.readRequestsMax = 0 }
  }

  @Test("Read requests are limited, and a follower's are given up in time")
  func readLimits() throws {
    var node = try makeNode { $0.readRequestsMax = 2 }
    #expect(throws: ReadIndexError.noLeader) { try node.requestReadIndex(1) }
    try node.step(makeMessage(.heartbeat, term: 1))
    try node.requestReadIndex(1)
    try node.requestReadIndex(2)
    #expect(throws: ReadIndexError.tooMany) { try node.requestReadIndex(3) }
    let questions = node.drain().filter { $0.kind == .readIndex }
    #expect(questions.count == 1)
    for _ in 0..<9 {
      node.tick()
      try node.step(makeMessage(.heartbeat, term: 1))
    }
    #expect(node.ready().readsLost.isEmpty)
    node.tick()
    #expect(node.ready().readsLost == [1, 2])
    // The answer that comes at last is for nobody.
    try node.step(makeMessage(.readIndexResp, term: 1, context: questions[0].context))
    #expect(node.ready().readStates.isEmpty)
    try node.requestReadIndex(3)
  }

  @Test("The same calls after the same seed give the same results")
  func deterministic() throws {
    func run(_ seed: UInt64) throws -> [String] {
      var simulation = try Simulation(seed: seed)
      try simulation.run(events: 500)
      return simulation.members.map { Describe.status($0.node) }
    }
    for seed: UInt64 in [3, 8, 21] { #expect(try run(seed) == run(seed)) }
  }
}
