import Base
import MVCC
import Membership
import Proto
import RPC
import Replica

/// The Cluster service of one event loop. Changing the membership is not built yet and answers
/// Unimplemented.
final class ClusterMemberService: ClusterService {
  private let loop: RequestLoop

  init(loop: RequestLoop) {
    self.loop = loop
  }

  func memberList(
    _ request: IncomingMessage<Etcdserverpb.MemberListRequest.View>,
    _ call: ServerCall
  ) {
    if request.view.linearizable && !loop.shared.status.readsAreLocal {
      return loop.whenLinearizable(.memberList, call)
    }
    loop.answer(call) { (reply: inout ByteWriter) throws(StoreError) in
      loop.shared.encodeMemberList(into: &reply)
    }
  }
}

extension MemberContext {
  /// Writes a whole `MemberListResponse`.
  func encodeMemberList(into reply: inout ByteWriter) {
    var response = Etcdserverpb.MemberListResponse()
    response.header = responseHeader
    response.members = status.memberList.members.map { Etcdserverpb.Member($0) }
    response.encode(into: &reply)
  }

  /// The header as a message, for answers that are not spliced.
  var responseHeader: Etcdserverpb.ResponseHeader {
    responseHeader(revision: store.currentRevision)
  }

  func responseHeader(revision: Revision) -> Etcdserverpb.ResponseHeader {
    var header = Etcdserverpb.ResponseHeader()
    header.clusterID = clusterID.rawValue
    header.memberID = memberID.rawValue
    header.revision = revision.rawValue
    header.raftTerm = status.raftTerm.rawValue
    return header
  }
}
