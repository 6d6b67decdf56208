import Base
import Lease
import MVCC
import Proto

// What the log says about leases.
extension ReplicaMachine {
  func applyLease(
    _ operation: ReplicatedOperation,
    _ request: InternalRequest,
    header: ResponseHeader
  ) {
    arena.reset()
    do throws(DecodeError) {
      switch operation {
      case .leaseGrant:
        apply(
          try Etcdserverpb.LeaseGrantRequest.View(decoding: request.request, in: arena),
          request.handle,
          header
        )
      case .leaseRevoke:
        apply(
          try Etcdserverpb.LeaseRevokeRequest.View(decoding: request.request, in: arena),
          request.handle,
          header
        )
      case .leaseCheckpoint:
        apply(
          try Etcdserverpb.LeaseCheckpointRequest.View(decoding: request.request, in: arena),
          request.handle,
          header
        )
      case .leaseUpkeep:
        apply(try Etcdserverpb.LeaseUpkeepRequest.View(decoding: request.request, in: arena))
      default:
        preconditionFailure("\(operation) is not about leases")
      }
    } catch {
      // A fault of the proposer, as with other requests: it changes nothing, on any member.
    }
  }

  private func apply(
    _ grant: Etcdserverpb.LeaseGrantRequest.View,
    _ handle: RequestHandle,
    _ header: ResponseHeader
  ) {
    reply(to: handle) { (reply: inout ByteWriter) throws(RequestError) in
      let granted: StoredLease
      do throws(LeaseError) {
        granted = try leases.grant(
          LeaseID(grant.id),
          seconds: grant.ttl,
          at: applying,
          now: now
        )
      } catch {
        throw RequestError(error)
      }
      header.write(revision: store.appliedRevision, into: &reply)
      reply.append(field: 2, varint: granted.id.rawValue)
      reply.append(field: 3, varint: granted.grantedSeconds)
    }
  }

  private func apply(
    _ revoke: Etcdserverpb.LeaseRevokeRequest.View,
    _ handle: RequestHandle,
    _ header: ResponseHeader
  ) {
    reply(to: handle) { (reply: inout ByteWriter) throws(RequestError) in
      guard let keys = leases.revoke(LeaseID(revoke.id)) else { throw .leaseNotFound }
      keys.withKeys { store.delete($0) }
      header.write(revision: store.appliedRevision, into: &reply)
    }
  }

  private func apply(
    _ request: Etcdserverpb.LeaseCheckpointRequest.View,
    _ handle: RequestHandle,
    _ header: ResponseHeader
  ) {
    for checkpoint in request.checkpoints {
      leases.checkpoint(LeaseID(checkpoint.id), remainingSeconds: checkpoint.remainingTTL)
    }
    reply(to: handle) { (reply: inout ByteWriter) throws(RequestError) in
      header.write(revision: store.appliedRevision, into: &reply)
    }
  }

  private func apply(_ upkeep: Etcdserverpb.LeaseUpkeepRequest.View) {
    let asOf = LogIndex(upkeep.appliedIndex)
    for checkpoint in upkeep.checkpoints {
      leases.checkpoint(
        LeaseID(checkpoint.id),
        remainingSeconds: checkpoint.remainingTTL,
        asOf: asOf
      )
    }
    for lease in upkeep.expired {
      guard let keys = leases.expire(LeaseID(lease), asOf: asOf) else { continue }
      keys.withKeys { store.delete($0) }
    }
  }
}

extension RequestError {
  init(_ error: LeaseError) {
    switch error {
    case .exists: self = .leaseExists
    case .notFound: self = .leaseNotFound
    case .timeToLiveTooLarge: self = .leaseTimeToLiveTooLarge
    }
  }
}
