import Base
import Membership
import NIOCore
import Peer
import RPC
import Raft
import Replica

// How a member and its peers are connected.
extension MemberRuntime {
  static func peerHandlers(
    _ mailbox: Mailbox<ReplicaThread.Input>,
    status: PublishedStatus,
    fatal: FailureLatch,
    _ questions: PeerQuestions,
    _ snapshots: SnapshotExchange
  ) -> PeerHandlers {
    var handlers = PeerHandlers(
      received: { mailbox.post(.peerMessages($0, bytes: $1)) },
      unreachable: { mailbox.post(.unreachable($0)) },
      connected: { mailbox.post(.connected($0)) },
      snapshotWanted: { snapshots.want($0) },
      makeSnapshotReceiver: { snapshots.makeReceiver($0, $1) },
      isRemoved: { status.memberList.isRemoved($0) },
      selfRemoved: { _ in fatal.fail("\(StartError.removed)") }
    )
    handlers.requests = questions.requests
    handlers.requests.hashAtIndex = { request, _ throws(RPCStatus) in
      try await HashChecker.answer(request, mailbox)
    }
    return handlers
  }

  /// Binds the addresses for peers. Throws `StartError.listen`.
  func listenForPeers(_ configuration: ResolvedConfiguration) async throws -> [String] {
    do {
      return try await context.peers.listen(on: configuration.peerListeners)
    } catch let error as PeerListenError {
      throw StartError.listen(address: error.address, reason: error.reason)
    }
  }
}

extension PeerConfiguration {
  init(
    clusterID: ClusterID,
    memberID: MemberID,
    serverVersion: String,
    _ source: ServerConfiguration
  ) {
    self.init(clusterID: clusterID, memberID: memberID, serverVersion: serverVersion)
    keepaliveTimeout = TimeAmount(source.raftWriteTimeout)
    listeningKeepaliveTimeout = TimeAmount(source.raftReadTimeout)
    reusesPort = source.socketReusePort
  }
}

extension PeerAddress {
  init(_ member: Member) {
    // The table holds only what can be read.
    self.init(id: member.id, urls: member.peerURLs.compactMap { try? ServerURL($0) })
  }
}
