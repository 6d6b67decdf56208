import Base
import Raft
import Testing

/// One test for each sentence on elections in the Raft paper (Figure 2, sections 5.1, 5.2, 5.4.1).
@Suite struct PaperElectionTests {
  @Test("When servers start up, they begin as followers")
  func startsAsFollower() throws {
    let node = try makeNode()
    #expect(node.role == .follower && node.leader == .none && node.term == Term(0))
  }

  @Test("If a follower receives no communication over the election timeout, it begins an election")
  func campaignsAfterTimeout() throws {
    var node = try makeNode(terms: [1], term: 2)
    var ticks = 0
    while node.role == .follower {
      node.tick()
      ticks += 1
      try #require(ticks < 20)
    }
    #expect(ticks >= 10)
    // It increments its term, votes for itself, and asks all others.
    #expect(node.term == Term(3) && node.vote == node.id && node.role == .candidate)
    let sent = node.drain()
    #expect(sent.map { $0.kind } == [.vote, .vote])
    #expect(sent.map { $0.to } == [MemberID(2), MemberID(3)])
    #expect(sent.allSatisfy { $0.index == LogIndex(1) && $0.logTerm == Term(1) })
  }

  @Test("A server remains a follower as long as it receives valid messages from a leader")
  func heartbeatsKeepFollower() throws {
    var node = try makeNode()
    for _ in 0..<100 {
      node.tick()
      try node.step(makeMessage(.heartbeat, term: 1))
    }
    #expect(node.role == .follower && node.leader == MemberID(2))
  }

  @Test("Election timeouts are chosen randomly from a fixed interval")
  func timeoutsAreRandom() throws {
    var seen: Set<Int> = []
    for seed in 1...200 {
      var node = try makeNode(seed: UInt64(seed))
      var ticks = 0
      while node.role == .follower {
        node.tick()
        ticks += 1
      }
      seen.insert(ticks)
    }
    #expect(seen == Set(10...19))
  }

  @Test(
    "A candidate wins if it receives votes from a majority of the full cluster",
    arguments: 1...7
  )
  func winsWithMajority(_ size: UInt64) throws {
    for granted in 0..<size {
      var node = try makeNode(voters: 1...size)
      node.campaign()
      _ = node.drain()
      for voter in 0..<granted {
        // A vote that comes twice counts once.
        try node.step(makeMessage(.voteResp, from: voter + 2, term: 1))
        try node.step(makeMessage(.voteResp, from: voter + 2, term: 1))
      }
      #expect((node.role == .leader) == (granted + 1 > size / 2), "\(granted + 1) of \(size)")
    }
  }

  @Test("A candidate that cannot win any more returns to follower")
  func losesWithMajorityAgainst() throws {
    var node = try makeNode()
    node.campaign()
    _ = node.drain()
    try node.step(makeMessage(.voteResp, from: 2, term: 1, reject: true))
    #expect(node.role == .candidate)
    try node.step(makeMessage(.voteResp, from: 3, term: 1, reject: true))
    #expect(node.role == .follower && node.term == Term(1))
  }

  @Test("Votes of another term, of learners and of strangers do not count")
  func foreignVotes() throws {
    var node = try makeNode()
    node.campaign()
    node.campaign()
    _ = node.drain()
    try node.step(makeMessage(.voteResp, from: 2, term: 1))
    try node.step(makeMessage(.voteResp, from: 9, term: 2))
    #expect(node.role == .candidate)
  }

  @Test("Each server will vote for at most one candidate in a given term, first come first served")
  func oneVotePerTerm() throws {
    var node = try makeNode()
    try node.step(makeMessage(.vote, from: 2, term: 1))
    try node.step(makeMessage(.vote, from: 3, term: 1))
    try node.step(makeMessage(.vote, from: 2, term: 1))
    let answers = node.drain()
    #expect(answers.map { $0.reject } == [false, true, false])
    // Also over a restart.
    var again = try makeNode(term: 1, vote: 2)
    try again.step(makeMessage(.vote, from: 3, term: 1))
    try again.step(makeMessage(.vote, from: 2, term: 1))
    #expect(again.drain().map { $0.reject } == [true, false])
  }

  @Test("Term and vote are on stable storage before the answer to an RPC leaves")
  func persistsBeforeAnswer() throws {
    var node = try makeNode()
    try node.step(makeMessage(.vote, from: 2, term: 4))
    let ready = node.ready()
    #expect(ready.mustSync && ready.messages.isEmpty)
    #expect(ready.hardState == HardState(term: Term(4), vote: MemberID(2)))
    #expect(ready.messagesAfterPersist.map { $0.kind } == [.voteResp])
  }

  @Test("A candidate's own vote counts only when it is durable, and requests leave only then")
  func ownVoteIsDurable() throws {
    var node = try makeNode(voters: 1...1)
    node.campaign()
    let ready = node.ready()
    #expect(node.role == .candidate && ready.mustSync)
    node.persisted(through: ready.sequence)
    #expect(node.role == .leader)
    var other = try makeNode()
    other.campaign()
    let request = other.ready()
    #expect(request.messages.isEmpty && request.messagesAfterPersist.count == 2)
  }

  @Test("A write that was under way before the campaign does not make the vote durable")
  func ownVoteNeedsItsOwnWrite() throws {
    var node = try makeNode(voters: 1...1)
    node.campaign()
    let first = node.ready()
    node.campaign()
    node.persisted(through: first.sequence)
    #expect(node.role == .candidate && node.term == Term(2))
    _ = node.drain()
    #expect(node.role == .leader)
  }

  @Test("A candidate that hears a leader of its term or later becomes its follower")
  func candidateRecognizesLeader() throws {
    for term: UInt64 in [1, 2] {
      var node = try makeNode()
      node.campaign()
      try node.step(makeMessage(.app, from: 3, term: term))
      #expect(node.role == .follower && node.leader == MemberID(3) && node.term == Term(term))
    }
  }

  @Test("If the leader's term is smaller, the candidate rejects it and stays candidate")
  func candidateRejectsOldLeader() throws {
    var node = try makeNode(term: 3)
    node.campaign()
    _ = node.drain()
    try node.step(makeMessage(.app, from: 3, term: 3))
    #expect(node.role == .candidate && node.term == Term(4))
    #expect(node.drain().map { $0.term } == [Term(4)])
  }

  @Test("If votes are split, each candidate times out and starts a new election in a higher term")
  func splitVote() throws {
    var node = try makeNode()
    node.campaign()
    _ = node.drain()
    for _ in 0..<20 { node.tick() }
    #expect(node.role == .candidate && node.term == Term(2))
  }

  @Test("If a request contains a higher term, the server updates its own and becomes follower")
  func higherTerm() throws {
    let kinds: [Message.Kind] = [
      .app, .appResp, .vote, .voteResp, .heartbeat, .heartbeatResp, .readIndexResp,
    ]
    for kind in kinds {
      for role in [Role.follower, .candidate, .leader] {
        var node = try makeNode()
        if role == .candidate { node.campaign() }
        if role == .leader { try node.lead() }
        try node.step(makeMessage(kind, term: 9))
        #expect(node.role == .follower && node.term == Term(9), "\(kind) at a \(role)")
      }
    }
  }

  @Test("A request with a stale term is rejected, with the current term")
  func staleTerm() throws {
    for kind in [Message.Kind.vote, .app, .heartbeat] {
      var node = try makeNode(terms: [1, 2], term: 5)
      try node.step(makeMessage(kind, term: 4, entries: kind == .app ? makeEntries([4]) : []))
      let answers = node.drain()
      #expect(answers.count == 1 && answers[0].term == Term(5))
      #expect(node.vote == .none && node.leader == .none && node.termsOfLog == [1, 2])
    }
  }

  @Test("The voter denies its vote if its own log is more up-to-date than that of the candidate")
  func upToDateLogs() throws {
    // (terms of the own log, candidate's last term, candidate's last index, granted)
    let cases: [([UInt64], UInt64, UInt64, Bool)] = [
      ([], 0, 0, true), ([1], 1, 1, true), ([1], 1, 2, true), ([1, 1], 1, 1, false),
      ([1], 2, 1, true), ([1, 1], 2, 1, true), ([2], 1, 1, false), ([2], 1, 5, false),
      ([1, 2], 2, 1, false), ([1, 2], 2, 2, true), ([1], 0, 0, false),
    ]
    for (terms, lastTerm, lastIndex, isGranted) in cases {
      var node = try makeNode(terms: terms, term: 3)
      try node.step(makeMessage(.vote, term: 4, index: lastIndex, logTerm: lastTerm))
      #expect(node.drain().map { $0.reject } == [!isGranted], "\(terms) \(lastTerm)/\(lastIndex)")
      // The term counts all the same.
      #expect(node.term == Term(4))
    }
  }

  @Test("A granted vote restarts the election timeout, a refused one does not")
  func voteRestartsTimeout() throws {
    for isGranted in [true, false] {
      var node = try makeNode(terms: [1], term: 1)
      // Enter the term first, since that restarts the timeout too.
      try node.step(makeMessage(.voteResp, term: 2))
      for _ in 0..<9 { node.tick() }
      try node.step(
        makeMessage(.vote, term: 2, index: isGranted ? 1 : 0, logTerm: isGranted ? 1 : 0)
      )
      for _ in 0..<9 { node.tick() }
      var ticks = 18
      while node.role == .follower {
        node.tick()
        ticks += 1
      }
      #expect(isGranted ? ticks >= 19 : ticks < 20)
    }
  }

  @Test("There is at most one leader in a term; a second one is a lie")
  func secondLeader() throws {
    var node = try makeNode()
    try node.step(makeMessage(.heartbeat, from: 2, term: 1))
    #expect(throws: RaftError.secondLeader) { try node.step(makeMessage(.app, from: 3, term: 1)) }
    var leader = try makeNode()
    try leader.lead()
    #expect(throws: RaftError.secondLeader) { try leader.step(makeMessage(.app, term: 1)) }
    #expect(leader.role == .leader)
  }
}
