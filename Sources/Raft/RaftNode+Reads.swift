import Base

extension RaftNode {
  /// Asks for an index that, once applied, makes a read linearizable. The answer comes in
  /// `Ready.readStates` with the same `context`, or the context comes in `Ready.readsLost`.
  ///
  /// All requests since the last Ready share one round of heartbeats. A context must not be used
  /// again while an answer to it may come.
  package mutating func requestReadIndex(_ context: UInt64) throws(ReadIndexError) {
    if role == .leader {
      if rounds.count >= configuration.readRequestsMax { throw .tooMany }
      rounds.waiting.append(ReadRequest(from: id, context: context))
      return
    }
    guard leader != .none else { throw .noLeader }
    if forwarded.count >= configuration.readRequestsMax { throw .tooMany }
    forwarded.waiting.append(context)
  }

  /// A follower's question. When too many wait it gets no answer, and asks again in time.
  mutating func stepReadIndex(_ message: borrowing Message) {
    guard role == .leader, rounds.count < configuration.readRequestsMax else { return }
    rounds.waiting.append(ReadRequest(from: message.from, context: message.context))
  }

  /// The leader's answer; it counts only for a question of this term that is still open.
  mutating func stepReadIndexResponse(_ message: borrowing Message) {
    guard role == .follower, message.from == leader else { return }
    for context in forwarded.takeAnswered(id: message.context) {
      readStates.append(ReadState(context: context, index: message.index))
    }
  }

  /// Whether waiting requests can go on. A leader that has committed nothing in its term does not
  /// know yet what its predecessors committed (paper, 8).
  var canStartReads: Bool {
    if role == .leader { return rounds.canStart && log.term(at: log.committed) == term }
    return !forwarded.waiting.isEmpty && leader != .none
  }

  /// Starts a round, or sends the question, for all requests that wait.
  mutating func startReads() {
    guard canStartReads else { return }
    guard role == .leader else {
      var message = Message(.readIndex, from: id, to: leader, term: term)
      message.context = forwarded.ask(tick: tickCount)
      messages.append(message)
      return
    }
    let number = rounds.start(index: log.committed)
    if let own = peers.position(of: id) { peers.progress[own].readRound = number }
    if let voter = peers.soleVoter, peers.ids[voter] == id {
      answerReads()
    } else {
      broadcastHeartbeat()
    }
  }

  /// A peer still took this node for its leader in the round `number`.
  mutating func confirmReads(_ number: UInt64, from position: Int) {
    guard number > peers.progress[position].readRound, number <= rounds.lastNumber else { return }
    peers.progress[position].readRound = number
    answerReads()
  }

  /// Answers the rounds that a quorum has confirmed.
  mutating func answerReads() {
    let confirmed = peers.quorumReadRound()
    while let round = rounds.takeConfirmed(through: confirmed) {
      for request in round.requests {
        if request.from == id {
          readStates.append(ReadState(context: request.context, index: round.index))
        } else {
          var message = Message(.readIndexResp, from: id, to: request.from, term: term)
          message.index = round.index
          message.context = request.context
          messages.append(message)
        }
      }
    }
  }

  /// Gives up all requests: the leader they were for is none any more.
  mutating func loseReads() {
    for request in rounds.removeAll() where request.from == id {
      readsLost.append(request.context)
    }
    readsLost += forwarded.removeAll()
  }

  /// Gives up questions without an answer for an election timeout.
  mutating func expireReads() {
    let patience = UInt64(configuration.electionTimeoutTicks)
    guard tickCount >= patience else { return }
    readsLost += forwarded.takeExpired(through: tickCount - patience)
  }
}
