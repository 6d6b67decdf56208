import Base
import Membership
import Replica
import Synchronization

/// The replica's status as other threads see it: what the last turn left.
final class PublishedStatus: Sendable {
  private let status = Mutex(ReplicaStatus())
  private let members: Mutex<MemberTable>
  private let alarmTable = Mutex(AlarmTable())
  private let downgradeJob = Mutex<DowngradeJob?>(nil)
  private let term = Atomic<UInt64>(0)
  private let localReads = Atomic<Bool>(false)
  private let leader = Atomic<Bool>(false)
  private let hindrance = Atomic<Bool>(false)
  private let learner = Atomic<Bool>(false)
  private let leaderSinceNanoseconds = Atomic<UInt64>(0)
  private let corrupt = Atomic<Bool>(false)

  init(members: MemberTable) {
    self.members = Mutex(members)
  }

  /// The current term, for response headers.
  var raftTerm: Term { Term(term.load(ordering: .relaxed)) }

  /// See `ReplicaStatus.readsAreLocal`. Acquire: a reader that sees true also sees every batch
  /// that the replica had published before.
  var readsAreLocal: Bool { localReads.load(ordering: .acquiring) }

  var hasLeader: Bool { leader.load(ordering: .relaxed) }

  /// Whether calls are to be looked at before they begin: there is no leader, or this member is a
  /// learner.
  var isHindered: Bool { hindrance.load(ordering: .relaxed) }

  var isLearner: Bool { learner.load(ordering: .relaxed) }

  /// When the present leader was first heard of, or the last one when there is none.
  var leaderSince: MonotonicTime {
    MonotonicTime(nanoseconds: leaderSinceNanoseconds.load(ordering: .relaxed))
  }

  /// See `ReplicaStatus.isCorrupt`.
  var isCorrupt: Bool { corrupt.load(ordering: .relaxed) }

  var current: ReplicaStatus { status.withLock { $0 } }

  var memberList: MemberTable { members.withLock { $0 } }

  /// The alarms that are raised.
  var alarms: AlarmTable { alarmTable.withLock { $0 } }

  /// The downgrade under way, if there is one.
  var downgrade: DowngradeJob? { downgradeJob.withLock { $0 } }

  /// Called by the replica's thread after each turn.
  func publish(_ new: ReplicaStatus) {
    let isNewLeader = status.withLock { status in
      defer { status = new }
      return new.leader != .none && (new.leader != status.leader || new.term != status.term)
    }
    if isNewLeader {
      leaderSinceNanoseconds.store(MonotonicTime.now.nanoseconds, ordering: .relaxed)
    }
    learner.store(new.isLearner, ordering: .relaxed)
    hindrance.store(new.isLearner || new.leader == .none, ordering: .relaxed)
    term.store(new.term.rawValue, ordering: .relaxed)
    leader.store(new.leader != .none, ordering: .relaxed)
    corrupt.store(new.isCorrupt, ordering: .relaxed)
    localReads.store(new.readsAreLocal, ordering: .releasing)
  }

  /// Called by the replica's thread when the member table has changed.
  func publish(_ list: MemberTable) {
    members.withLock { $0 = list }
  }

  /// Called by the replica's thread when alarms have changed.
  func publish(_ alarms: AlarmTable) {
    alarmTable.withLock { $0 = alarms }
  }

  /// Called by the replica's thread when a downgrade began or ended.
  func publish(downgrade: DowngradeJob?) {
    downgradeJob.withLock { $0 = downgrade }
  }
}
