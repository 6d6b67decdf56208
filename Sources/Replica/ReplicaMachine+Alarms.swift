import Base
import MVCC
import Proto

// What the log says about alarms, and what they forbid.
extension ReplicaMachine {
  /// Throws when an alarm forbids this operation.
  ///
  /// As in etcd, a corrupt member stops every change of keys and leases, and a full one what would
  /// add to them. Reads, and the ways out (deletes, compactions, revocations), go on when it is only
  /// full. Unlike etcd, a put within a nested txn is found too.
  func checkCapacity(
    _ operation: ReplicatedOperation,
    _ request: InternalRequest
  ) throws(RequestError) {
    guard !alarms.alarms.isEmpty else { return }
    switch operation {
    case .put, .leaseGrant:
      if alarms.hasCorruption { throw .corrupt }
      if alarms.hasNoSpace { throw .noSpace }
    case .txn:
      if alarms.hasCorruption { throw .corrupt }
      if alarms.hasNoSpace && adds(request) { throw .noSpace }
    case .deleteRange, .compaction, .leaseRevoke:
      if alarms.hasCorruption { throw .corrupt }
    default:
      return
    }
  }

  private func adds(_ request: InternalRequest) -> Bool {
    arena.reset()
    let view = try? Etcdserverpb.TxnRequest.View(decoding: request.request, in: arena)
    return view.map { WriteCost.bytes(of: $0) > 0 } ?? false
  }

  func applyAlarm(_ request: InternalRequest, header: ResponseHeader) {
    guard let message = try? Etcdserverpb.AlarmRequest(decoding: request.request) else { return }
    reply(to: request.handle) { (reply: inout ByteWriter) throws(RequestError) in
      let listed = try change(message, corruption: request.corruption)
      header.write(revision: store.appliedRevision, into: &reply)
      Etcdserverpb.AlarmResponse(alarms: listed.map(\.message)).encode(into: &reply)
    }
  }

  /// Does what an alarm request asks for and returns the alarms that its answer lists.
  private func change(
    _ request: Etcdserverpb.AlarmRequest,
    corruption: UnsafeRawBufferPointer
  ) throws(RequestError) -> [AlarmTable.Alarm] {
    let alarm = AlarmTable.Alarm(MemberID(request.memberID), request.alarm)
    switch request.action {
    case .activate:
      var changed = alarms
      guard changed.raise(alarm) else { throw .tooManyRequests }
      if changed != alarms {
        alarms = changed
        noteCorruption(alarm, corruption)
      }
      return [alarm]
    case .deactivate:
      var changed = alarms
      guard changed.disarm(alarm) else { return [] }
      alarms = changed
      return [alarm]
    default:
      return alarms.list(request.alarm)
    }
  }

  /// Keeps what an alarm says of this member, or of all, for its log.
  private func noteCorruption(_ alarm: AlarmTable.Alarm, _ report: UnsafeRawBufferPointer) {
    guard alarm.type == .corrupt,
      alarm.memberID == configuration.memberID || alarm.memberID == .none
    else { return }
    corruption = ReplicaOutput.Corruption(
      member: alarm.memberID,
      entry: applying,
      report: report.isEmpty ? nil : try? Etcdserverpb.CorruptionReport(decoding: report)
    )
  }
}
