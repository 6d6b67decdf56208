import Auth
import Base
import Lease
import MVCC
import NIOCore
import Proto
import RPC
import Replica

/// The Lease service of one event loop.
///
/// Grants and revocations go through the log. Renewals are answered here and now, by the leader's
/// table of leases: a client that does not read its answers is not read from either, so nothing
/// piles up.
final class LeaseKeepingService: LeaseService {
  private let loop: RequestLoop
  private let leases: LeaseRegistry
  private var scratch = ByteWriter(capacity: 64)
  private let renewals: RenewalQueue

  /// A list of more leases, or a lease with more keys, is a matter for the reader pool.
  private static let itemsOnLoopMax = 1000

  init(loop: RequestLoop) {
    self.loop = loop
    leases = loop.shared.leases
    renewals = RenewalQueue(loop: loop)
    renewals.answered = { [unowned self] lease, outcome, call in
      answer(lease, outcome, call)
    }
  }

  func callCancelled(_ call: ServerCall) {
    loop.streamAnswers[call.id] = nil
    renewals.forget(call.id)
    loop.callCancelled(call.id)
  }

  // MARK: Through the log

  func leaseGrant(
    _ request: IncomingMessage<Etcdserverpb.LeaseGrantRequest.View>,
    _ call: ServerCall
  ) {
    let view = request.view
    guard loop.hasRoom(for: WriteCost.leaseBytes, call) else { return }
    // What this member decides must be in the entry, so that all members do the same.
    let secondsMin = loop.shared.settings.leaseSecondsMin
    if view.id != 0 && view.ttl >= secondsMin {
      return loop.propose(.leaseGrant, request.bytes, call)
    }
    scratch.removeAll()
    Etcdserverpb.LeaseGrantRequest(
      ttl: max(view.ttl, secondsMin),
      id: view.id != 0 ? view.id : Int64.random(in: 1 ... .max)
    ).encode(into: &scratch)
    loop.propose(.leaseGrant, scratch.bytes, call)
  }

  func leaseRevoke(
    _ request: IncomingMessage<Etcdserverpb.LeaseRevokeRequest.View>,
    _ call: ServerCall
  ) {
    loop.propose(.leaseRevoke, request.bytes, call)
  }

  // MARK: Keeping alive

  func leaseKeepAliveStarted(_ call: ServerCall) {}

  func leaseKeepAlive(
    _ request: IncomingMessage<Etcdserverpb.LeaseKeepAliveRequest.View>,
    _ call: ServerCall
  ) {
    let lease = LeaseID(request.view.id)
    guard loop.shared.status.readsAreLocal else { return renewals.append(lease, call) }
    answer(lease, leases.renew(lease, now: MonotonicTime.now.nanoseconds), call)
  }

  private func answer(_ lease: LeaseID, _ outcome: LeaseRenewal, _ call: ServerCall) {
    switch outcome {
    case .renewed(let seconds): answer(lease, seconds: seconds, call)
    case .unknown: answer(lease, seconds: 0, call)
    case .notPrimary: call.finish(RPCStatus(.noLeader))
    case .needsCheckpoint: renewThroughLog(lease, call)
    }
    if renewals.hasEnded(call.id) { endIfIdle(call) }
  }

  func leaseKeepAliveEnded(_ call: ServerCall) {
    renewals.noteEnd(call.id)
    endIfIdle(call)
  }

  /// Ends the answers to a client that has said its last, once none is missing.
  private func endIfIdle(_ call: ServerCall) {
    if renewals.isWaiting(call.id) { return }
    if let waiting = loop.streamAnswers[call.id] as? CheckpointedRenewals {
      waiting.isEnded = true
    } else {
      renewals.forget(call.id)
      call.finish(.ok)
    }
  }

  fileprivate func answer(_ lease: LeaseID, seconds: Int64, _ call: ServerCall) {
    let header = loop.header
    let revision = loop.shared.store.currentRevision
    call.send { writer in
      header.write(revision: revision, into: &writer)
      writer.append(field: 2, varint: lease.rawValue)
      writer.append(field: 3, varint: seconds)
    }
  }

  /// The log must forget how little was left of a lease before anybody is promised more.
  private func renewThroughLog(_ lease: LeaseID, _ call: ServerCall) {
    let waiting: CheckpointedRenewals
    if let known = loop.streamAnswers[call.id] as? CheckpointedRenewals {
      waiting = known
    } else {
      waiting = CheckpointedRenewals(service: self)
      loop.streamAnswers[call.id] = waiting
    }
    guard waiting.leases.count < CheckpointedRenewals.countMax else {
      loop.streamAnswers[call.id] = nil
      return call.finish(RPCStatus(.tooManyRequests))
    }
    waiting.leases.append(lease)
    scratch.removeAll()
    Etcdserverpb.LeaseCheckpointRequest(
      checkpoints: [Etcdserverpb.LeaseCheckpoint(id: lease.rawValue)]
    ).encode(into: &scratch)
    loop.propose(.leaseCheckpoint, scratch.bytes, call)
  }

  /// The log has forgotten; another checkpoint may have come since, but that is long after.
  fileprivate func renewAgain(_ lease: LeaseID, _ call: ServerCall) {
    guard loop.shared.status.readsAreLocal else { return renewals.append(lease, call) }
    guard case .renewed(let seconds) = leases.renew(lease, now: MonotonicTime.now.nanoseconds)
    else {
      return answer(lease, seconds: 0, call)
    }
    answer(lease, seconds: seconds, call)
  }

  fileprivate func lastIsAnswered(_ call: ServerCall) {
    loop.streamAnswers[call.id] = nil
    endIfIdle(call)
  }

  // MARK: Reading

  func leaseTimeToLive(
    _ request: IncomingMessage<Etcdserverpb.LeaseTimeToLiveRequest.View>,
    _ call: ServerCall
  ) {
    // Its keys are told to those who may read them all.
    let (lease, withKeys) = (LeaseID(request.view.id), request.view.keys)
    var access: UserAccess?
    let stamp = loop.admit(call) { user in
      access = user
      return !withKeys || user.isRoot || leases.forEachKey(of: lease) { user.permitsReading($0) }
    }
    guard let stamp else { return }
    // Keys that are put on the lease from now on are left out, if they are not the user's.
    let wanted = ReadRequest.leaseTimes(lease, withKeys: withKeys, access)
    let keyCount =
      request.view.keys ? leases.times(of: LeaseID(request.view.id), now: 0)?.keyCount ?? 0 : 0
    answer(wanted, isLong: keyCount > Self.itemsOnLoopMax, call, stamp)
  }

  func leaseLeases(
    _ request: IncomingMessage<Etcdserverpb.LeaseLeasesRequest.View>,
    _ call: ServerCall
  ) {
    guard let stamp = loop.admit(call, { _ in true }) else { return }
    answer(.leaseList, isLong: leases.count > Self.itemsOnLoopMax, call, stamp)
  }

  private func answer(
    _ request: ReadRequest,
    isLong: Bool,
    _ call: ServerCall,
    _ stamp: PublishedAuth.Stamp
  ) {
    guard loop.shared.status.readsAreLocal else {
      if case .leaseTimes(let lease, let withKeys, let access) = request {
        return answerFromLeader(lease, withKeys: withKeys, access, call, stamp)
      }
      return loop.whenLinearizable(request, call, since: stamp)
    }
    if isLong { return loop.answerFromPool(request, call, since: stamp) }
    let shared = loop.shared
    loop.answer(call, since: stamp) { (reply: inout ByteWriter) throws(StoreError) in
      switch request {
      case .leaseTimes(let lease, let withKeys, let access):
        shared.encodeLeaseTimes(lease, withKeys: withKeys, access, into: &reply)
      default:
        shared.encodeLeaseList(into: &reply)
      }
    }
  }
}

extension LeaseKeepingService {
  /// Only the leader knows how long a lease still lives; its keys are known here.
  private func answerFromLeader(
    _ lease: LeaseID,
    withKeys: Bool,
    _ access: UserAccess?,
    _ call: ServerCall,
    _ stamp: PublishedAuth.Stamp
  ) {
    guard renewals.beginQuestion() else { return call.finish(RPCStatus(.tooManyRequests)) }
    let (loop, shared, id) = (loop, loop.shared, call.id)
    Task { [renewals] in
      let outcome = await shared.timesFromLeader(of: lease)
      loop.eventLoop.execute {
        renewals.endQuestion()
        guard let call = loop.calls.call(id) else { return }
        switch outcome {
        case .success(let times):
          loop.answer(call, since: stamp) { (reply: inout ByteWriter) throws(StoreError) in
            shared.encode(times, of: lease, withKeys: withKeys, access, into: &reply)
          }
        case .failure(let error):
          call.finish(RPCStatus(error))
        }
        loop.calls.flush()
      }
    }
  }
}

/// Renewals of one stream that wait for the log, in the order of their proposals.
private final class CheckpointedRenewals: StreamAnswers {
  let service: LeaseKeepingService
  var leases: [LeaseID] = []
  /// Whether the client has said its last.
  var isEnded = false

  /// Most that wait at a time on one stream.
  static let countMax = 1000

  init(service: LeaseKeepingService) {
    self.service = service
  }

  func take(_ answer: ReplyQueue.Answer, _ call: ServerCall) -> Bool {
    if case .failure(let error) = answer {
      call.finish(RPCStatus(error))
      return false
    }
    guard !leases.isEmpty else { return false }
    service.renewAgain(leases.removeFirst(), call)
    guard leases.isEmpty else { return true }
    if isEnded { service.lastIsAnswered(call) }
    return false
  }
}

extension MemberContext {
  /// Writes a whole `LeaseTimeToLiveResponse`.
  func encodeLeaseTimes(
    _ lease: LeaseID,
    withKeys: Bool,
    _ access: UserAccess?,
    into reply: inout ByteWriter
  ) {
    let times = leases.times(of: lease, now: MonotonicTime.now.nanoseconds)
    encode(times, of: lease, withKeys: withKeys, access, into: &reply)
  }

  /// The same with the times of a lease as they are known; nil when there is none.
  func encode(
    _ times: LeaseTimes?,
    of lease: LeaseID,
    withKeys: Bool,
    _ access: UserAccess?,
    into reply: inout ByteWriter
  ) {
    var response = Etcdserverpb.LeaseTimeToLiveResponse()
    response.header = responseHeader
    response.id = lease.rawValue
    if let times {
      response.ttl = times.remainingSeconds
      response.grantedTTL = times.grantedSeconds
      if withKeys {
        let keys = leases.keys(of: lease)
        response.keys =
          access.map { user in
            keys.filter { key in key.withUnsafeBytes { user.permitsReading($0) } }
          } ?? keys
      }
    } else {
      response.ttl = -1
    }
    response.encode(into: &reply)
  }

  /// Writes a whole `LeaseLeasesResponse`: as etcd has it, what expires first comes first.
  func encodeLeaseList(into reply: inout ByteWriter) {
    var response = Etcdserverpb.LeaseLeasesResponse()
    response.header = responseHeader
    response.leases = leases.all().map { Etcdserverpb.LeaseStatus(id: $0.rawValue) }
    response.encode(into: &reply)
  }
}
