import Base
import Raft
import Testing

/// One test for each sentence on replication in the Raft paper (Figure 2, sections 5.3, 5.4.2, 7, 8).
@Suite struct PaperReplicationTests {
  @Test("The leader appends commands to its log and sends them to all others in parallel")
  func leaderAppends() throws {
    var node = try makeNode()
    try node.lead()
    _ = node.drain()
    for peer: UInt64 in 2...3 {
      try node.step(makeMessage(.appResp, from: peer, term: 1, index: 1))
    }
    _ = node.drain()
    #expect(try node.propose([SharedBytes([1]), SharedBytes([2])]) == LogIndex(2))
    let ready = node.ready()
    #expect(ready.entriesToAppend.count == 2 && ready.mustSync)
    // Before its own disk has them.
    #expect(ready.messages.map { $0.to } == [MemberID(2), MemberID(3)])
    #expect(ready.messages.allSatisfy { $0.entries == ready.entriesToAppend })
    #expect(ready.messages.allSatisfy { $0.index == LogIndex(1) && $0.logTerm == Term(1) })
  }

  @Test("Leaders send periodic heartbeats")
  func heartbeats() throws {
    var node = try makeNode { $0.heartbeatTimeoutTicks = 3 }
    try node.lead()
    _ = node.drain()
    for tick in 1...9 {
      node.tick()
      #expect(node.drain().filter { $0.kind == .heartbeat }.count == (tick % 3 == 0 ? 2 : 0))
    }
  }

  @Test("Reply false if the log has no entry at prevLogIndex whose term matches prevLogTerm")
  func refusesMismatch() throws {
    // (prevLogIndex, prevLogTerm, refused)
    let cases: [(UInt64, UInt64, Bool)] = [
      (0, 0, false), (1, 1, false), (2, 2, false), (2, 1, true), (3, 2, true), (9, 3, true),
    ]
    for (index, term, isRefused) in cases {
      var node = try makeNode(terms: [1, 2], term: 3)
      try node.step(makeMessage(.app, term: 3, index: index, logTerm: term))
      let answer = try #require(node.drain().first)
      #expect(answer.reject == isRefused, "after \(term)/\(index)")
      #expect(answer.index == LogIndex(index))
      #expect(node.termsOfLog == [1, 2])
    }
  }

  @Test("Conflicting entries and all that follow are deleted; entries not in the log are appended")
  func replacesConflicts() throws {
    // (prevLogIndex, prevLogTerm, new terms, the log's terms then)
    let cases: [(UInt64, UInt64, [UInt64], [UInt64])] = [
      (2, 2, [3], [1, 2, 3]), (1, 1, [3, 4], [1, 3, 4]), (0, 0, [1], [1, 2]),
      (0, 0, [3], [3]), (1, 1, [2], [1, 2]), (0, 0, [1, 2, 4], [1, 2, 4]),
    ]
    for (index, term, new, result) in cases {
      var node = try makeNode(terms: [1, 2], term: 4)
      try node.step(
        makeMessage(
          .app,
          term: 4,
          index: index,
          logTerm: term,
          entries: makeEntries(new, after: index)
        )
      )
      #expect(node.termsOfLog == result)
      #expect(node.entries == makeEntries(result))
    }
  }

  @Test("An old message that arrives late removes nothing that came after it")
  func oldAppendIsHarmless() throws {
    var node = try makeNode(terms: [1, 1, 1, 1], term: 1)
    try node.step(makeMessage(.app, term: 1, entries: makeEntries([1, 1])))
    #expect(node.termsOfLog == [1, 1, 1, 1])
    // And its answer claims no more than what it was about.
    #expect(node.drain().first?.index == LogIndex(2))
  }

  @Test("commitIndex = min(leaderCommit, index of last new entry)")
  func commitIsLimited() throws {
    // (entries in the message, leaderCommit, commit then)
    for (count, leaderCommit, commit) in [(2, 1, 1), (2, 2, 2), (2, 5, 2), (0, 5, 0), (1, 5, 1)] {
      var node = try makeNode(terms: [1, 1, 1], term: 1)
      let entries = Array(makeEntries([1, 1]).prefix(count))
      try node.step(makeMessage(.app, term: 1, commit: UInt64(leaderCommit), entries: entries))
      #expect(node.commit == LogIndex(UInt64(commit)))
    }
  }

  @Test("Once a follower learns that an entry is committed, it applies it, in log order")
  func appliesInOrder() throws {
    var node = try makeNode()
    try node.step(makeMessage(.app, term: 1, commit: 3, entries: makeEntries([1, 1, 1])))
    let first = node.ready()
    #expect(first.committedEntries.isEmpty)
    node.persisted(through: first.sequence)
    #expect(node.ready().committedEntries == makeEntries([1, 1, 1]))
  }

  @Test("An append is answered only when its entries are durable")
  func answersAfterPersist() throws {
    var node = try makeNode()
    try node.step(makeMessage(.app, term: 1, entries: makeEntries([1])))
    let ready = node.ready()
    #expect(ready.messages.isEmpty && ready.messagesAfterPersist.map { $0.kind } == [.appResp])
  }

  @Test("After a rejection the leader decrements nextIndex and retries")
  func retries() throws {
    var node = try makeNode(terms: [1, 1, 2, 2], term: 2)
    try node.lead()
    let probes = node.drain().filter { $0.kind == .app && $0.to == MemberID(2) }
    #expect(probes.map { $0.index } == [LogIndex(4)])
    var refusal = makeMessage(.appResp, term: 3, index: 4, logTerm: 1, reject: true)
    refusal.rejectHint = LogIndex(4)
    try node.step(refusal)
    let retry = try #require(node.drain().first { $0.kind == .app && $0.to == MemberID(2) })
    #expect(retry.index == LogIndex(2) && retry.logTerm == Term(1) && retry.entries.count == 3)
    // A refusal that is late is no news.
    try node.step(refusal)
    #expect(!node.drain().contains { $0.kind == .app })
  }

  @Test("An entry is committed once the leader has replicated it on a majority", arguments: 1...7)
  func commitsWithMajority(_ size: UInt64) throws {
    for acks in 0..<size {
      var node = try makeNode(voters: 1...size)
      try node.lead()
      // The votes of a larger cluster.
      for voter in 2..<(size + 2) where node.role != .leader {
        try node.step(makeMessage(.voteResp, from: voter, term: 1))
      }
      _ = node.drain()
      for peer in 0..<acks {
        try node.step(makeMessage(.appResp, from: peer + 2, term: 1, index: 1))
      }
      let isCommitted = acks + 1 > size / 2
      #expect(node.commit == LogIndex(isCommitted ? 1 : 0), "\(acks + 1) of \(size)")
    }
  }

  @Test("The leader's own log counts when it is durable")
  func ownLogCountsWhenDurable() throws {
    var node = try makeNode()
    try node.lead()
    let ready = node.ready()
    try node.step(makeMessage(.appResp, from: 2, term: 1, index: 1))
    #expect(node.commit == .zero)
    node.persisted(through: ready.sequence)
    #expect(node.commit == LogIndex(1))
  }

  @Test("Only entries of the leader's current term are committed by counting replicas (Figure 8)")
  func noCommitOfOldTerms() throws {
    var node = try makeNode(terms: [1, 2], term: 2)
    try node.lead()
    _ = node.drain()
    try node.step(makeMessage(.appResp, term: 3, index: 2))
    #expect(node.commit == .zero)
    // Once an entry of its own term is committed, all prior ones are too.
    try node.step(makeMessage(.appResp, term: 3, index: 3))
    #expect(node.commit == LogIndex(3))
  }

  @Test("A leader never overwrites or deletes entries in its own log")
  func leaderAppendOnly() throws {
    var node = try makeNode(terms: [1, 2], term: 2)
    try node.lead()
    #expect(node.termsOfLog == [1, 2, 3])
    #expect(Array(node.entries.prefix(2)) == makeEntries([1, 2]))
  }

  @Test("A leader learns what is committed by committing an entry of its term, and only then reads")
  func readsAfterFirstCommit() throws {
    var node = try makeNode(terms: [1], term: 1)
    try node.lead()
    try node.requestReadIndex(7)
    _ = node.drain()
    try node.step(makeMessage(.heartbeatResp, term: 2, context: 1))
    #expect(node.ready().readStates.isEmpty)
    try node.step(makeMessage(.appResp, term: 2, index: 2))
    #expect(node.drain().filter { $0.kind == .heartbeat }.map { $0.context } == [1, 1])
    try node.step(makeMessage(.heartbeatResp, term: 2, context: 1))
    #expect(node.ready().readStates == [ReadState(context: 7, index: LogIndex(2))])
  }

  @Test("A heartbeat round confirms the reads that waited when it began, not those of later rounds")
  func readRoundsAreApart() throws {
    var node = try makeNode()
    try node.lead()
    _ = node.drain()
    try node.step(makeMessage(.appResp, term: 1, index: 1))
    _ = node.drain()
    try node.requestReadIndex(1)
    _ = node.drain()
    try node.requestReadIndex(2)
    _ = node.drain()
    try node.step(makeMessage(.heartbeatResp, term: 1, context: 1))
    #expect(node.ready().readStates == [ReadState(context: 1, index: LogIndex(1))])
    // A round that was never started confirms nothing.
    try node.step(makeMessage(.heartbeatResp, term: 1, context: 3))
    #expect(node.ready().readStates.isEmpty)
    // One that is later than another confirms both.
    try node.requestReadIndex(3)
    _ = node.drain()
    try node.step(makeMessage(.heartbeatResp, term: 1, context: 3))
    #expect(node.ready().readStates.map { $0.context } == [2, 3])
  }

  @Test("InstallSnapshot: if the log has the snapshot's last entry, it keeps what follows")
  func snapshotKeepsMatchingTail() throws {
    var node = try makeNode(terms: [1, 1, 1], term: 1)
    var message = makeMessage(.snapshot, term: 1)
    message.snapshot = SnapshotMetadata(
      index: LogIndex(2),
      term: Term(1),
      confState: node.confState
    )
    try node.step(message)
    let ready = node.ready()
    #expect(ready.snapshotToInstall == nil && ready.committedEntries == makeEntries([1, 1]))
    #expect(node.termsOfLog == [1, 1, 1])
    #expect(ready.messagesAfterPersist.first?.index == LogIndex(2))
  }

  @Test("InstallSnapshot: otherwise the entire log is discarded and the snapshot's membership used")
  func snapshotReplacesLog() throws {
    var node = try makeNode(terms: [1, 1, 1], term: 1)
    var message = makeMessage(.snapshot, term: 3)
    let state = ConfState(voters: [MemberID(1), MemberID(2)], learners: [MemberID(7)])
    message.snapshot = SnapshotMetadata(index: LogIndex(2), term: Term(2), confState: state)
    try node.step(message)
    let ready = node.ready()
    #expect(ready.snapshotToInstall?.index == LogIndex(2))
    #expect(node.lastIndex == LogIndex(2) && node.lastTerm == Term(2) && node.entries.isEmpty)
    #expect(node.confState == state && node.commit == LogIndex(2))
    // Until it is installed nothing is applied and no election begun.
    try node.step(
      makeMessage(
        .app,
        term: 3,
        index: 2,
        logTerm: 2,
        commit: 3,
        entries: makeEntries([3], after: 2)
      )
    )
    let next = node.ready()
    node.persisted(through: next.sequence)
    node.campaign()
    #expect(node.role == .follower && !node.hasReady)
    node.snapshotInstalled(at: LogIndex(2))
    #expect(node.ready().committedEntries == makeEntries([3], after: 2))
    // A second, older one changes nothing.
    try node.step(message)
    #expect(node.ready().snapshotToInstall == nil)
  }
}
