import Base
import MVCC
import Proto
import Replica

/// Reads answers without what differs from member to member.
enum AnswerReader {
  static func outcome(
    _ answer: ReplyQueue.Answer,
    _ operation: ReplicatedOperation,
    of member: MemberID
  ) throws -> Oracle.Outcome {
    guard case .message(let bytes) = answer else {
      guard case .failure(let error) = answer else { return .message([]) }
      return .failure(error)
    }
    func bare(_ header: Etcdserverpb.ResponseHeader?) throws -> Etcdserverpb.ResponseHeader {
      guard let header, header.memberID == member.rawValue, header.raftTerm > 0 else {
        throw Violation(.answer, "a response without a header")
      }
      return Etcdserverpb.ResponseHeader(revision: header.revision)
    }
    switch operation {
    case .put:
      var response = try Etcdserverpb.PutResponse(decoding: bytes)
      response.header = try bare(response.header)
      return .message(response.encoded())
    case .deleteRange:
      var response = try Etcdserverpb.DeleteRangeResponse(decoding: bytes)
      response.header = try bare(response.header)
      return .message(response.encoded())
    case .txn:
      var response = try Etcdserverpb.TxnResponse(decoding: bytes)
      response.header = try bare(response.header)
      return .message(response.encoded())
    case .leaseGrant:
      var response = try Etcdserverpb.LeaseGrantResponse(decoding: bytes)
      response.header = try bare(response.header)
      return .message(response.encoded())
    default:
      // Nothing but a header, as with LeaseRevoke and LeaseCheckpoint.
      var response = try Etcdserverpb.CompactionResponse(decoding: bytes)
      response.header = try bare(response.header)
      return .message(response.encoded())
    }
  }
}

extension AnswerReader {
  /// The answer to a change of the membership: the list after it.
  static func outcome(
    _ answer: ReplyQueue.Answer,
    of kind: MembershipChange.Kind
  ) throws -> Oracle.Outcome {
    guard case .message(let bytes) = answer else {
      guard case .failure(let error) = answer else { return .message([]) }
      return .failure(error)
    }
    let list: [Etcdserverpb.Member]
    switch kind {
    case .add: list = try Etcdserverpb.MemberAddResponse(decoding: bytes).members
    case .remove: list = try Etcdserverpb.MemberRemoveResponse(decoding: bytes).members
    case .update: list = try Etcdserverpb.MemberUpdateResponse(decoding: bytes).members
    case .promote: list = try Etcdserverpb.MemberPromoteResponse(decoding: bytes).members
    }
    return .message(Etcdserverpb.MemberListResponse(members: list).encoded())
  }
}

extension SimulatedMember {
  /// Reads a range of the store as it is here and now.
  func range(_ request: Etcdserverpb.RangeRequest) throws -> Oracle.Outcome {
    let arena = Arena()
    let view = try request.encoded().withUnsafeBytes {
      try Etcdserverpb.RangeRequest.View(decoding: $0, in: arena)
    }
    var reply = ByteWriter()
    do throws(StoreError) {
      try store.range(
        view,
        header: ResponseHeader(clusterID: ClusterID(0), memberID: .none, raftTerm: .zero),
        reader: reader,
        into: &reply
      )
    } catch {
      return .failure(RequestError(error))
    }
    return .message([UInt8](reply.bytes))
  }
}
