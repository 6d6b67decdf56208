import Base
import Logging
import Membership
import Peer
import Proto
import RPC
import Raft
import Replica

/// Compares, while this member leads, the rolling hash of its state with the other members', at
/// equal applied indexes; whose data differs gets the alarm CORRUPT by the log.
///
/// Always on (P4): an index that cannot be compared is no success. What is not known of a member for
/// long is logged.
final class HashChecker: Sendable {
  private let member: MemberContext
  private let task: Task<Void, Never>

  /// How often the members are asked.
  private static let interval = Duration.milliseconds(500)
  private static let callTimeout = Duration.seconds(2)
  /// After how many rounds without a comparison a member is mentioned in the log.
  private static let silentRoundsMax = 120

  init(_ member: MemberContext) {
    self.member = member
    task = Task.detached { [member] in
      var round = HashRound(member: member)
      while !Task.isCancelled {
        try? await Task.sleep(for: Self.interval)
        guard member.status.current.role == .leader else {
          round.forget()
          continue
        }
        await round.run(timeout: Self.callTimeout, silentRoundsMax: Self.silentRoundsMax)
      }
    }
  }

  /// Compares this member's data with that of all others that answer, whoever leads. Throws
  /// `StartError` when it differs from what a majority has, or, without one, from the leader's.
  func checkBeforeServing() async throws {
    let round = HashRound(member: member)
    var result = HashRound.Finding.unknown
    for _ in 0..<Self.initialTriesMax {
      result = await round.finding(timeout: Self.callTimeout)
      guard case .unknown = result else { break }
      // This member has not come as far as the others yet, or they do not answer.
      try? await Task.sleep(for: Self.initialPause)
    }
    switch result {
    case .unknown:
      member.logger.warning("this member's data could not be compared with any other's")
    case .equal:
      member.logger.info("this member's data is as another's")
    case .difference(let found):
      try judge(found)
    }
  }

  private static let initialTriesMax = 100
  private static let initialPause = Duration.milliseconds(50)

  private func judge(_ found: HashRound.Difference) throws(StartError) {
    let hashes = found.hashes.map { "\($0.member)=\(String($0.hash, radix: 16))" }
    guard found.verdict.suspects.contains(member.memberID) else {
      member.logger.error(
        "another member's data differs from this one's",
        metadata: ["index": "\(found.index)", "hashes": "\(hashes)"]
      )
      return
    }
    throw StartError.failed(
      "InitialCorruptCheck: this member's data differs from the others' at index \(found.index) "
        + "(\(hashes.joined(separator: ", "))): remove the member, add it again, and start it with "
        + "an empty data directory"
    )
  }

  func stop() async {
    task.cancel()
    await task.value
  }

  /// The answer to a peer's question: the hash at the index it asks for, or the newest.
  static func answer(
    _ request: Martletpb.HashAtIndexRequest,
    _ mailbox: Mailbox<ReplicaThread.Input>
  ) async throws(RPCStatus) -> Martletpb.HashAtIndexResponse {
    let index = LogIndex(request.index)
    guard let found = await ReplicaThread.hash(at: index, { mailbox.post($0) }) else {
      throw .unavailable("the member stops")
    }
    return Martletpb.HashAtIndexResponse(
      index: found.hash.index.rawValue,
      hash: found.hash.hash,
      isKnown: found.isKnown
    )
  }
}

/// What the checker remembers from round to round.
private struct HashRound {
  let member: MemberContext
  /// Rounds in which nothing could be compared with a member.
  private var silent: [MemberID: Int] = [:]

  init(member: MemberContext) {
    self.member = member
  }

  mutating func forget() {
    silent = [:]
  }

  mutating func run(timeout: Duration, silentRoundsMax: Int) async {
    let others = member.status.memberList.members.map(\.id).filter { $0 != member.memberID }
    for other in others {
      guard let comparison = await compare(other, timeout) else {
        let rounds = silent[other, default: 0] + 1
        silent[other] = rounds
        if rounds % silentRoundsMax == 0 {
          member.logger.warning(
            "a member's data could not be compared for a while",
            metadata: ["member": "\(other)", "rounds": "\(rounds)"]
          )
        }
        continue
      }
      silent[other] = 0
      guard comparison.own != comparison.theirs else { continue }
      await decide(at: comparison.index, between: others, timeout)
    }
  }

  /// What all that answer had at an index where two differ.
  struct Difference {
    var index: LogIndex
    var verdict: HashComparison
    var hashes: [(member: MemberID, hash: UInt64)]
  }

  enum Finding {
    /// Nothing could be compared.
    case unknown
    /// With at least one other.
    case equal
    case difference(Difference)
  }

  /// Whether this member and the others differ, as far as that can be said now.
  func finding(timeout: Duration) async -> Finding {
    let others = member.status.memberList.members.map(\.id).filter { $0 != member.memberID }
    var finding = others.isEmpty ? Finding.equal : .unknown
    for other in others {
      guard let comparison = await compare(other, timeout) else { continue }
      guard comparison.own != comparison.theirs else {
        finding = .equal
        continue
      }
      guard let hashes = await hashes(at: comparison.index, of: others, timeout) else { continue }
      let verdict = HashComparison(
        hashes,
        leader: member.status.current.leader,
        memberCount: others.count + 1
      )
      return .difference(
        Difference(index: comparison.index, verdict: verdict, hashes: hashes)
      )
    }
    return finding
  }

  /// What all members that know it had at an index; nil when this one does not know its own any more.
  private func hashes(
    at index: LogIndex,
    of others: [MemberID],
    _ timeout: Duration
  ) async -> [(member: MemberID, hash: UInt64)]? {
    guard let own = await member.replica.hash(at: index), own.isKnown else { return nil }
    var hashes = [(member: member.memberID, hash: own.hash.hash)]
    for other in others {
      if let answer = await ask(other, at: index, timeout), answer.index == index {
        hashes.append((other, answer.hash))
      }
    }
    return hashes
  }

  /// The hashes of a member and of this one at some index that both know; nil when there is none now,
  /// or the member does not answer.
  private func compare(
    _ other: MemberID,
    _ timeout: Duration
  ) async -> (index: LogIndex, own: UInt64, theirs: UInt64)? {
    // The member is asked first: this one leads, so it is likely to be as far.
    guard let theirs = await ask(other, at: .zero, timeout) else { return nil }
    guard let own = await member.replica.hash(at: theirs.index) else { return nil }
    if own.isKnown { return (theirs.index, own.hash.hash, theirs.hash) }
    let index = ReplicaMachine.commonIndex(notAbove: min(theirs.index, own.hash.index))
    guard let mine = await member.replica.hash(at: index), mine.isKnown,
      let again = await ask(other, at: index, timeout), again.index == index
    else { return nil }
    return (index, mine.hash.hash, again.hash)
  }

  private func ask(_ other: MemberID, at index: LogIndex, _ timeout: Duration) async -> StateHash? {
    let request = Martletpb.HashAtIndexRequest(index: index.rawValue)
    do throws(RPCError) {
      let answer = try await member.peers.call(other, timeout: timeout) {
        peer,
        options throws(RPCError) in
        try await peer.hashAtIndex(request, options: options)
      }
      return StateHash(index: LogIndex(answer.index), hash: answer.hash)
    } catch {
      return nil
    }
  }

  /// A member differs: asks all at the same index, and raises the alarm for who is alone.
  private func decide(
    at index: LogIndex,
    between others: [MemberID],
    _ timeout: Duration
  ) async {
    guard let hashes = await hashes(at: index, of: others, timeout) else { return }
    let verdict = HashComparison(
      hashes,
      leader: member.memberID,
      memberCount: others.count + 1
    )
    member.raiseCorruption(
      of: verdict.suspects,
      Etcdserverpb.CorruptionReport(
        index: index.rawValue,
        isByMajority: verdict.isByMajority,
        hashes: hashes.map {
          Etcdserverpb.MemberHash(memberID: $0.member.rawValue, hash: $0.hash)
        }
      )
    )
  }
}

extension ReplicaThread {
  /// The replica's hash at an index, or the newest one when that is not known; nil when the replica
  /// has stopped.
  func hash(at index: LogIndex) async -> (hash: StateHash, isKnown: Bool)? {
    await Self.hash(at: index) { post($0) }
  }

  static func hash(
    at index: LogIndex,
    _ post: (Input) -> Bool
  ) async -> (hash: StateHash, isKnown: Bool)? {
    await withCheckedContinuation { continuation in
      let isPosted = post(
        .look { machine in
          guard let machine else { return continuation.resume(returning: nil) }
          if let hash = machine.stateHash(at: index) {
            continuation.resume(returning: (StateHash(index: index, hash: hash), true))
          } else {
            continuation.resume(returning: (machine.stateHash, false))
          }
        }
      )
      if !isPosted { continuation.resume(returning: nil) }
    }
  }
}
