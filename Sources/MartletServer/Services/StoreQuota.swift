import Base
import Logging
import Proto
import Replica
import Storage
import Synchronization

/// The quota of `--quota-backend-bytes`: whether the store has room for a write, asked before the
/// write is proposed, and the alarm when it has not.
///
/// What counts is what the data takes, not the size of the file: deletes and compactions make room
/// by themselves.
final class StoreQuota: Sendable {
  /// None when there is no limit.
  let bytesMax: Int?
  private let storage: TieredStorage
  /// When the alarm may be asked for again.
  private let nextAlarm = Atomic<UInt64>(0)

  /// An alarm that did not get through is asked for again after this long.
  private static let alarmRetryNanoseconds: UInt64 = 500_000_000

  init(bytesMax: Int?, storage: TieredStorage) {
    self.bytesMax = bytesMax
    self.storage = storage
  }

  /// Whether `cost` more bytes fit. Any thread.
  @inline(__always)
  func hasRoom(for cost: Int) -> Bool {
    guard let bytesMax, cost > 0 else { return true }
    return storage.bytesInUse + cost <= bytesMax
  }

  /// The store is full: proposes the alarm, unless it is raised or has been asked for just now.
  func raiseAlarm(_ member: MemberContext) {
    let alarm = AlarmTable.Alarm(member.memberID, .nospace)
    guard !member.status.alarms.contains(alarm) else { return }
    let now = MonotonicTime.now.nanoseconds
    let next = nextAlarm.load(ordering: .relaxed)
    guard now >= next,
      nextAlarm.compareExchange(
        expected: next,
        desired: now + Self.alarmRetryNanoseconds,
        ordering: .relaxed
      ).exchanged
    else { return }
    member.logger.error(
      "the store is over its quota: no more is added to it",
      metadata: ["bytes": "\(storage.bytesInUse)", "quota": "\(bytesMax ?? 0)"]
    )
    let request = Etcdserverpb.AlarmRequest(
      action: .activate,
      memberID: member.memberID.rawValue,
      alarm: .nospace
    )
    member.proposeOwn(.alarm, request)
  }
}

extension MemberContext {
  /// Proposes something in the member's own name, before what clients wait for. Nobody gets an
  /// answer. Returns false when the replica has stopped.
  @discardableResult
  func proposeOwn(_ operation: ReplicatedOperation, _ request: some Message) -> Bool {
    var batch = ProposalBatch(epoch: epoch, capacity: 64)
    request.encoded().withUnsafeBytes { batch.append(operation, handle: .none, request: $0) }
    return replica.post(.ownProposals(batch.take()))
  }
}
