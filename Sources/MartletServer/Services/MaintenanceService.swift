import Base
import Logging
import MVCC
import Membership
import Proto
import RPC
import Replica
import Storage

/// The Maintenance service of one event loop.
final class StoreMaintenanceService: MaintenanceService {
  let loop: RequestLoop

  init(loop: RequestLoop) {
    self.loop = loop
  }

  func status(
    _ request: IncomingMessage<Etcdserverpb.StatusRequest.View>,
    _ call: ServerCall
  ) {
    let shared = loop.shared
    let replica = shared.status.current
    var response = Etcdserverpb.StatusResponse()
    response.header = shared.responseHeader
    response.version = Version.etcdCompatible
    response.storageVersion = Version.storage
    // What the memtables hold has no place in the file yet, and will take one.
    let bytesInUse = shared.storage.bytesInUse
    response.dbSize = Int64(max(shared.storage.base.bytesOnDisk, bytesInUse))
    response.dbSizeInUse = Int64(bytesInUse)
    response.dbSizeQuota = shared.settings.quotaBytes
    response.isLearner = shared.status.memberList[shared.memberID]?.isLearner ?? false
    let downgrade = shared.status.downgrade
    response.downgradeInfo = Etcdserverpb.DowngradeInfo(
      enabled: downgrade != nil,
      targetVersion: downgrade?.targetVersion ?? ""
    )
    response.leader = replica.leader.rawValue
    response.raftIndex = replica.committed.rawValue
    response.raftTerm = replica.term.rawValue
    response.raftAppliedIndex = replica.applied.rawValue
    if replica.leader == .none {
      response.errors = [RequestError.noLeader.codeAndText.1]
    }
    response.errors += shared.status.alarms.alarms.map(\.text)
    respond(call, response)
  }

  func alarm(_ request: IncomingMessage<Etcdserverpb.AlarmRequest.View>, _ call: ServerCall) {
    guard (0...2).contains(request.view.action.rawValue) else {
      return call.finish(RPCStatus(.invalidArgument, "etcdserver: no such action on alarms"))
    }
    guard (0...2).contains(request.view.alarm.rawValue) else {
      return call.finish(RPCStatus(.invalidArgument, "etcdserver: no such type of alarm"))
    }
    loop.propose(.alarm, request.bytes, call)
  }

  /// For how many nanoseconds there may be no leader while one is awaited.
  private static let transferPatience: UInt64 = 5_000_000_000

  /// Hands leadership to a voter, and answers when that leads.
  func moveLeader(
    _ request: IncomingMessage<Etcdserverpb.MoveLeaderRequest.View>,
    _ call: ServerCall
  ) {
    let (loop, shared, id) = (loop, loop.shared, call.id)
    guard shared.status.current.leader == shared.memberID else {
      return call.finish(RPCStatus(.notLeader))
    }
    let target = MemberID(request.view.targetID)
    guard let member = shared.status.memberList[target], !member.isLearner else {
      return call.finish(RPCStatus(.badLeaderTransferee))
    }
    if target == shared.memberID {
      return respond(call, Etcdserverpb.MoveLeaderResponse(header: shared.responseHeader))
    }
    let isPosted = shared.replica.post(
      .transferLeadership(target, patienceNanoseconds: Self.transferPatience) { outcome in
        switch outcome {
        case .done:
          Self.respond(loop, id, Etcdserverpb.MoveLeaderResponse(header: shared.responseHeader))
        case .notLeader: loop.finish(id, RPCStatus(.notLeader))
        case .failed: loop.finish(id, RPCStatus(.timeout))
        }
      }
    )
    if !isPosted { call.finish(RPCStatus(.serverStopped)) }
  }

  func hash(_ request: IncomingMessage<Etcdserverpb.HashRequest.View>, _ call: ServerCall) {
    let (loop, shared, id) = (loop, loop.shared, call.id)
    submit(call) { reader in
      do throws(StoreError) {
        let (hash, revision) = try MemberMetrics.measure(shared.metrics.hashes) {
          () throws(StoreError) in
          try shared.store.hash(reader: reader)
        }
        var response = Etcdserverpb.HashResponse()
        response.hash = hash
        response.header = shared.responseHeader(revision: revision)
        Self.respond(loop, id, response)
      } catch {
        loop.finish(id, RPCStatus(RequestError(error)))
      }
    }
  }

  func hashKV(_ request: IncomingMessage<Etcdserverpb.HashKVRequest.View>, _ call: ServerCall) {
    let (loop, shared, id) = (loop, loop.shared, call.id)
    let revision = Revision(request.view.revision)
    submit(call) { reader in
      do throws(StoreError) {
        let result = try MemberMetrics.measure(shared.metrics.revisionHashes) {
          () throws(StoreError) in
          try shared.store.hashKV(revision: revision, reader: reader)
        }
        var response = Etcdserverpb.HashKVResponse()
        response.header = shared.responseHeader(revision: result.currentRevision)
        response.hash = result.hash
        response.compactRevision = result.compactRevision.rawValue
        response.hashRevision = result.hashRevision.rawValue
        Self.respond(loop, id, response)
      } catch {
        loop.finish(id, RPCStatus(RequestError(error)))
      }
    }
  }

  func defragment(
    _ request: IncomingMessage<Etcdserverpb.DefragmentRequest.View>,
    _ call: ServerCall
  ) {
    let (loop, shared, id) = (loop, loop.shared, call.id)
    whenFlushed(call) { result in
      do {
        try result.get()
        try shared.metrics.measureDefragment {
          try shared.storage.defragment(isCancelled: { shared.isStopping })
        }
        var response = Etcdserverpb.DefragmentResponse()
        response.header = shared.responseHeader
        Self.respond(loop, id, response)
      } catch {
        loop.finish(id, RPCStatus(.internal, "etcdserver: defragmentation failed: \(error)"))
      }
    }
  }

  func snapshot(
    _ request: IncomingMessage<Etcdserverpb.SnapshotRequest.View>,
    _ call: ServerCall
  ) {
    let (loop, shared, id) = (loop, loop.shared, call.id)
    whenFlushed(call) { result in
      do {
        try result.get()
        let file = try MemberMetrics.measure(shared.metrics.snapshots) {
          try SnapshotFile(of: shared.storage, in: shared.settings.snapshotDirectory)
        }
        loop.withCall(id) { _ in
          PumpedStream.start(loop, id) { _, message, _ in
            file.next(header: shared.responseHeader, into: &message)
          }
        }
      } catch {
        shared.logger.error("a snapshot failed", metadata: ["cause": "\(error)"])
        loop.finish(id, RPCStatus(.internal, "etcdserver: snapshot failed: \(error)"))
      }
    }
  }

  /// Runs `body` on a thread of the reader pool once everything applied so far is in the store's
  /// file. Not on the housekeeper's: it has to go on flushing beside a long copy.
  private func whenFlushed(
    _ call: ServerCall,
    _ body: @escaping @Sendable (Result<Void, FlushError>) -> Void
  ) {
    let (loop, readers, id) = (loop, loop.shared.readers, call.id)
    guard readers.hasRoom else { return call.finish(RPCStatus(.tooManyRequests)) }
    loop.shared.whenFlushed { result in
      if !readers.submit({ _, _ in body(result) }) { loop.finish(id, RPCStatus(.serverStopped)) }
    }
  }

  // MARK: Answers

  func respond(_ call: ServerCall, _ response: some Proto.Message) {
    call.respond { response.encode(into: &$0) }
  }

  /// Answers from another thread.
  private static func respond(_ loop: RequestLoop, _ id: CallID, _ response: some Proto.Message) {
    loop.withCall(id) { call in
      call.respond { response.encode(into: &$0) }
    }
  }

  private func submit(_ call: ServerCall, _ job: @escaping @Sendable (StoreReader) -> Void) {
    guard loop.shared.readers.hasRoom else { return call.finish(RPCStatus(.tooManyRequests)) }
    if !loop.shared.readers.submit({ reader, _ in job(reader) }) {
      call.finish(RPCStatus(.serverStopped))
    }
  }
}
