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

  init(members: MemberTable) {
    self.members = Mutex(members)
  }

  /// The current term, for response headers.
  var raftTerm: Term { Term(term.load(ordering: .relaxed)) }

  /// See `ReplicaStatus.readsAreLocal`. Acquire: a reader that sees true also sees every batch
  /// that the replica had published before.
  var readsAreLocal: Bool { localReads.load(ordering: .acquiring) }

  var hasLeader: Bool { leader.load(ordering: .relaxed) }

  var current: ReplicaStatus { status.withLock { $0 } }

  var memberList: MemberTable { members.withLock { $0 } }

  /// The alarms that are raised.
  var alarms: AlarmTable { alarmTable.withLock { $0 } }

  /// The downgrade under way, if there is one.
  var downgrade: DowngradeJob? { downgradeJob.withLock { $0 } }

  /// Called by the replica's thread after each turn.
  func publish(_ new: ReplicaStatus) {
    status.withLock { $0 = new }
    term.store(new.term.rawValue, ordering: .relaxed)
    leader.store(new.leader != .none, ordering: .relaxed)
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
