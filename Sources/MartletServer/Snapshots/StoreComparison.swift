package import Base
import MVCC
import Membership
import Peer
package import Proto
import RPC
import Replica

/// One comparison of what the members' stores hold, by HashKV at one revision. Only hashes with the same
/// compactions behind them say anything.
package struct StoreComparison: Sendable {
  /// What a member's store was found to be.
  package enum Answer: Equatable, Sendable {
    case hash(UInt32, compactRevision: Revision)
    /// The member cannot read its own store.
    case unreadable
    /// It has not come as far, or is compacted further.
    case elsewhere(String)
    case silent(String)
  }

  /// What came of a comparison.
  package struct Finding: Sendable {
    package var revision: Revision
    package var compactRevision: Revision
    /// Who was compared, and with what outcome: nil for a store that cannot be read.
    package var hashes: [(member: MemberID, hash: UInt32?)]
    /// Who was not compared, and why.
    package var unknown: [(member: MemberID, cause: String)]
    /// Who is not to be trusted; `.none` stands for all, when no majority agrees.
    package var suspects: [MemberID]
    package var isByMajority: Bool

    /// Whether this member was compared with any other.
    package var isComparison: Bool { hashes.count > 1 }
  }

  let member: MemberContext
  let hasher: StoreHasher

  /// Reading a large store takes long.
  private static let callTimeout = Duration.seconds(60)
  /// How often those are asked that have not come as far as this member, and how often everybody
  /// when there was a compaction in between.
  private static let questionsMax = 10
  private static let attemptsMax = 3
  private static let pause = Duration.milliseconds(100)

  private var others: [MemberID] {
    member.status.memberList.members.map(\.id).filter { $0 != member.memberID }
  }

  /// Asks all members.
  func run() async -> Finding {
    var attempts = 0
    while true {
      let revision = member.store.currentRevision
      let own = await ownAnswer(at: revision)
      let answers = [(member: member.memberID, answer: own)] + (await answers(at: revision))
      attempts += 1
      let compactions = Set(answers.compactMap { $0.answer.compactRevision })
      let isClear = compactions.count <= 1 && own.isKnown
      if isClear || attempts == Self.attemptsMax {
        return Self.judge(answers, at: revision, ownCompaction: own.compactRevision)
      }
      try? await Task.sleep(for: Self.pause)
    }
  }

  private func ownAnswer(at revision: Revision) async -> Answer {
    do throws(RequestError) {
      let hash = try await hasher.hash(at: revision)
      return .hash(hash.hash, compactRevision: hash.compactRevision)
    } catch {
      switch error {
      case .corrupt: return .unreadable
      case .compacted, .futureRevision: return .elsewhere(error.codeAndText.1)
      default: return .silent(error.codeAndText.1)
      }
    }
  }

  private func answers(at revision: Revision) async -> [(member: MemberID, answer: Answer)] {
    await withTaskGroup(of: (member: MemberID, answer: Answer).self) { group in
      for other in others {
        group.addTask { (other, await patientAnswer(of: other, at: revision)) }
      }
      var answers: [(member: MemberID, answer: Answer)] = []
      for await answer in group { answers.append(answer) }
      return answers.sorted { $0.member < $1.member }
    }
  }

  /// Gives a member that is behind, or busy, some time.
  private func patientAnswer(of other: MemberID, at revision: Revision) async -> Answer {
    var answer = await ask(other, at: revision)
    for _ in 1..<Self.questionsMax {
      guard case .elsewhere = answer, !Task.isCancelled else { break }
      try? await Task.sleep(for: Self.pause)
      answer = await ask(other, at: revision)
    }
    return answer
  }

  private func ask(_ other: MemberID, at revision: Revision) async -> Answer {
    let request = Etcdserverpb.HashKVRequest(revision: revision.rawValue)
    do throws(RPCError) {
      let answer = try await member.peers.call(other, timeout: Self.callTimeout) {
        peer,
        options throws(RPCError) in
        try await peer.hashKV(request, options: options)
      }
      return .hash(answer.hash, compactRevision: Revision(answer.compactRevision))
    } catch {
      switch error.code {
      case .dataLoss: return .unreadable
      case .outOfRange, .resourceExhausted: return .elsewhere(error.status.message)
      default: return .silent(error.status.description)
      }
    }
  }

  /// Says who is wrong: who does not have what a majority of all members has.
  package static func judge(
    _ answers: [(member: MemberID, answer: Answer)],
    at revision: Revision,
    ownCompaction: Revision?
  ) -> Finding {
    let compacted =
      ownCompaction ?? answers.compactMap { $0.answer.compactRevision }.max() ?? Revision(0)
    var hashes: [(member: MemberID, hash: UInt32)] = []
    var unreadable: [MemberID] = []
    var unknown: [(member: MemberID, cause: String)] = []
    for (member, answer) in answers {
      switch answer {
      case .hash(let hash, compacted): hashes.append((member, hash))
      case .hash(_, let other): unknown.append((member, "its compaction is that of \(other)"))
      case .unreadable: unreadable.append(member)
      case .elsewhere(let cause), .silent(let cause): unknown.append((member, cause))
      }
    }
    let verdict = HashComparison(
      hashes.map { ($0.member, UInt64($0.hash)) },
      leader: nil,
      memberCount: answers.count
    )
    // That somebody cannot read is an accusation only where others can, and agree.
    let suspects =
      verdict.isByMajority ? (verdict.suspects + unreadable).sorted() : verdict.suspects
    return Finding(
      revision: revision,
      compactRevision: compacted,
      hashes: hashes.map { ($0.member, $0.hash) } + unreadable.map { ($0, nil) },
      unknown: unknown,
      suspects: suspects,
      isByMajority: verdict.isByMajority
    )
  }
}

extension StoreComparison.Answer {
  package var compactRevision: Revision? {
    if case .hash(_, let compactRevision) = self { compactRevision } else { nil }
  }

  /// Whether it says what the member has.
  var isKnown: Bool {
    switch self {
    case .hash, .unreadable: true
    case .elsewhere, .silent: false
    }
  }
}

extension StoreComparison.Finding {
  /// What goes with the alarm.
  package var report: Etcdserverpb.CorruptionReport {
    Etcdserverpb.CorruptionReport(
      revision: revision.rawValue,
      compactRevision: compactRevision.rawValue,
      isByMajority: isByMajority,
      hashes: hashes.map {
        Etcdserverpb.MemberHash(
          memberID: $0.member.rawValue,
          hash: UInt64($0.hash ?? 0),
          isUnreadable: $0.hash == nil
        )
      }
    )
  }
}
