import Base
import MVCC
import Membership
import Proto
import RPC
import Raft
import Replica

/// The Cluster service of one event loop: changes go through the log, each checked here first for
/// what only the asked member can know.
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

  func memberAdd(
    _ request: IncomingMessage<Etcdserverpb.MemberAddRequest.View>,
    _ call: ServerCall
  ) {
    let isLearner = request.view.isLearner
    let id: MemberID
    let urls: [String]
    do throws(RequestError) {
      urls = try Self.peerURLs(Etcdserverpb.MemberAddRequest(request.view).peerURLs)
      if !isLearner { try loop.shared.checkAddingVoter() }
      // The time of the proposer: all members take the ID from the entry.
      id = .added(peerURLs: urls, unixTimeSeconds: SystemTime.wallNanoseconds / 1_000_000_000)
    } catch {
      return call.finish(RPCStatus(error))
    }
    propose(.add(peerURLs: urls, isLearner: isLearner), id, call)
  }

  func memberRemove(
    _ request: IncomingMessage<Etcdserverpb.MemberRemoveRequest.View>,
    _ call: ServerCall
  ) {
    let id = MemberID(request.view.id)
    do throws(RequestError) {
      try loop.shared.checkRemoving(id)
    } catch {
      return call.finish(RPCStatus(error))
    }
    propose(.remove, id, call)
  }

  func memberUpdate(
    _ request: IncomingMessage<Etcdserverpb.MemberUpdateRequest.View>,
    _ call: ServerCall
  ) {
    let urls: [String]
    do throws(RequestError) {
      urls = try Self.peerURLs(Etcdserverpb.MemberUpdateRequest(request.view).peerURLs)
    } catch {
      return call.finish(RPCStatus(error))
    }
    propose(.update(peerURLs: urls), MemberID(request.view.id), call)
  }

  func memberPromote(
    _ request: IncomingMessage<Etcdserverpb.MemberPromoteRequest.View>,
    _ call: ServerCall
  ) {
    let id = MemberID(request.view.id)
    let status = loop.shared.status.current
    if status.role == .leader || status.leader == .none { return propose(.promote, id, call) }
    promoteAtLeader(id, status.leader, call)
  }

  /// Only the leader knows how far a learner is.
  private func promoteAtLeader(_ id: MemberID, _ leader: MemberID, _ call: ServerCall) {
    let (loop, callID) = (loop, call.id)
    let shared = loop.shared
    Task {
      do throws(RPCError) {
        let answer = try await shared.promoteAtLeader(id, leader)
        loop.withCall(callID) { $0.respond { answer.encode(into: &$0) } }
      } catch {
        loop.finish(callID, error.status)
      }
    }
  }

  private func propose(_ kind: MembershipChange.Kind, _ id: MemberID, _ call: ServerCall) {
    guard id != .none else { return call.finish(RPCStatus(.memberNotFound)) }
    loop.propose(MembershipChange(kind, id, learnersMax: loop.shared.settings.learnersMax), call)
  }

  /// Checked URLs in the form that the member table keeps.
  private static func peerURLs(_ texts: [String]) throws(RequestError) -> [String] {
    guard texts.count <= MemberTable.urlCountMax, let urls = try? ServerURL.list(texts) else {
      throw .badMemberURLs
    }
    return urls.map(\.description)
  }
}

extension MemberContext {
  /// How long a member must have been connected to count as healthy.
  private static let healthyNanoseconds: UInt64 = 5_000_000_000

  /// Throws when one more voter, which has not started yet, could cost the quorum.
  func checkAddingVoter() throws(RequestError) {
    guard settings.isReconfigurationStrict else { return }
    let members = status.memberList
    guard members.allowsAddingVoter else { throw .notEnoughStarted }
    guard members.voters.allSatisfy({ isHealthy($0.id) }) else { throw .unhealthy }
  }

  /// Throws when the voters that stay could be without a quorum.
  func checkRemoving(_ id: MemberID) throws(RequestError) {
    guard settings.isReconfigurationStrict else { return }
    let members = status.memberList
    if let member = members[id], member.isLearner { return }
    guard members.allowsRemoving(id) else { throw .notEnoughStarted }
    // One that is down is no part of the quorum at work.
    if id != memberID && connectedSince(id) == nil { return }
    let voters = members.voters
    let healthy = voters.count { isHealthy($0.id) }
    guard healthy - 1 >= 1 + (voters.count - 1) / 2 || voters.count == 1 else { throw .unhealthy }
  }

  private func isHealthy(_ id: MemberID) -> Bool {
    if id == memberID { return true }
    guard let since = connectedSince(id) else { return false }
    return since + Self.healthyNanoseconds <= MonotonicTime.now.nanoseconds
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
