import Base
import MVCC
import Membership
import Proto
import Raft

/// The entry kinds of raftpb.EntryType that this build writes.
package enum EntryKind {
  package static let normal: UInt8 = 0
  package static let configuration: UInt8 = 2
}

extension ReplicaMachine {
  /// Applies one committed entry. The store's batch is open.
  func apply(_ entry: Entry) {
    applying = entry.index
    switch entry.payload {
    case .empty:
      break
    case .normal(let bytes):
      bytes.withUnsafeBytes { apply(InternalRequest($0, epoch: configuration.epoch)) }
    case .configuration(let change):
      apply(change)
      lastReplyFailed = false
      Raftpb.ConfChangeV2(change).encoded().withUnsafeBytes { noteInHash(.max, $0, []) }
    }
  }

  private func apply(_ request: InternalRequest) {
    if !desk.forwarded.isEmpty { desk.forwarded.noteApplied(request.handle) }
    guard let operation = request.operation else { return }
    meter?.willApply(operation)
    lastReplyFailed = false
    apply(operation, request)
    if let detail = hashDetail(operation) {
      noteInHash(UInt8(truncatingIfNeeded: operation.rawValue), request.request, detail)
    }
    meter?.didApply(isSuccess: !lastReplyFailed)
  }

  private func apply(_ operation: ReplicatedOperation, _ request: InternalRequest) {
    let header = ResponseHeader(
      clusterID: members.clusterID,
      memberID: configuration.memberID,
      raftTerm: raft.term
    )
    do throws(RequestError) {
      try authorize(operation, request)
      try checkCapacity(operation, request)
    } catch {
      return reply(to: request.handle) { (_: inout ByteWriter) throws(RequestError) in
        throw error
      }
    }
    switch operation {
    case .put:
      applyToStore(request) { (view: Etcdserverpb.PutRequest.View, reply) throws(StoreError) in
        try store.put(view, header: header, reply: &reply)
      }
    case .deleteRange:
      applyToStore(request) {
        (view: Etcdserverpb.DeleteRangeRequest.View, reply) throws(StoreError) in
        try store.deleteRange(view, header: header, reply: &reply)
      }
    case .txn:
      applyToStore(request) { (view: Etcdserverpb.TxnRequest.View, reply) throws(StoreError) in
        try store.txn(view, header: header, reply: &reply)
      }
    case .compaction:
      applyCompaction(request, header: header)
    case .leaseGrant, .leaseRevoke, .leaseCheckpoint, .leaseUpkeep:
      applyLease(operation, request, header: header)
    case .alarm:
      applyAlarm(request, header: header)
    case .authEnable, .authDisable, .authUserAdd, .authUserDelete, .authUserChangePassword,
      .authUserGrantRole, .authUserRevokeRole, .authRoleAdd, .authRoleDelete,
      .authRoleGrantPermission, .authRoleRevokePermission:
      applyAuth(operation, request, header: header)
    case .authenticate:
      applyLogIn(request, header: header)
    case .clusterMemberAttributes:
      applyAttributes(request)
    case .clusterVersionSet:
      applyClusterVersion(request)
    case .downgradeInfoSet:
      applyDowngrade(request, header: header)
    }
  }

  /// Decodes a request and applies it, answering whoever waits for it here. Entries were checked
  /// before they were proposed, so one that does not decode is a fault of the proposer: it changes
  /// nothing, the same way on every member.
  private func applyToStore<View: MessageView>(
    _ request: InternalRequest,
    _ body: (View, inout ByteWriter) throws(StoreError) -> Void
  ) {
    arena.reset()
    guard let view = try? View(decoding: request.request, in: arena) else { return }
    reply(to: request.handle) { (reply: inout ByteWriter) throws(RequestError) in
      do throws(StoreError) {
        try body(view, &reply)
      } catch {
        throw RequestError(error)
      }
    }
  }

  private func applyCompaction(_ request: InternalRequest, header: ResponseHeader) {
    arena.reset()
    guard
      let view = try? Etcdserverpb.CompactionRequest.View(decoding: request.request, in: arena)
    else { return }
    let revision = Revision(view.revision)
    var answer = ByteWriter(capacity: 64)
    do throws(StoreError) {
      try store.compact(view, header: header, reply: &answer)
    } catch {
      return reply(to: request.handle) { (_: inout ByteWriter) throws(RequestError) in
        throw RequestError(error)
      }
    }
    hasNewCompaction = true
    if view.physical && request.handle != .none {
      waitingCompactions.append(
        WaitingCompaction(
          handle: request.handle,
          revision: revision,
          answer: SharedBytes(copying: answer.bytes)
        )
      )
    } else {
      reply(to: request.handle) { (reply: inout ByteWriter) throws(RequestError) in
        reply.append(answer.bytes)
      }
    }
  }

  /// Adds an answer to the queue of the loop that waits for it. Without one, the work is done all
  /// the same and the answer is thrown away.
  func reply(
    to handle: RequestHandle,
    _ encode: (inout ByteWriter) throws(RequestError) -> Void
  ) {
    guard handle != .none, handle.loop < replies.count else {
      lastReplyFailed = !scratch.discard(encode)
      return
    }
    lastReplyFailed = !replies[handle.loop].reply(to: handle.call, encode)
  }
}
