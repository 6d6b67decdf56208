package import Base
package import Proto
package import RPC
package import Raft

/// What a member does with what its peers send. All functions may be called on any thread, must be
/// quick, and must not call back into the transport while they run, `async` ones apart.
package struct PeerHandlers: Sendable {
  /// Messages of one peer, for Raft. `bytes` is what they weigh: the receiver calls
  /// `PeerTransport.took(bytes:)` when it has stepped them.
  package var received: @Sendable (_ messages: [Raft.Message], _ bytes: Int) -> Void

  /// A message with entries for this peer was lost, or the connection to it: Raft is to probe.
  package var unreachable: @Sendable (MemberID) -> Void

  /// A stream of messages with entries and proposals to this peer stands, the first or a new one: what
  /// was under way on the one before may be lost. Called before anything goes on it.
  package var connected: @Sendable (MemberID) -> Void

  /// Raft wants the member `message.to` to get a snapshot. Called on the thread that calls `send`.
  /// Whoever takes it sends it by `PeerTransport.sendSnapshot` and tells Raft how it went.
  package var snapshotWanted: @Sendable (_ message: Raft.Message) -> Void

  /// A peer begins to send a snapshot, which `message` describes, of at most so many bytes. Returns nil
  /// to refuse it.
  package var makeSnapshotReceiver:
    @Sendable (_ message: Raft.Message, _ bytesMax: UInt64) -> (any SnapshotReceiver)?

  /// Whether the member was removed from the cluster: it is refused.
  package var isRemoved: @Sendable (MemberID) -> Bool

  /// A peer says that this member itself was removed.
  package var selfRemoved: @Sendable (_ by: MemberID) -> Void

  package var requests = PeerRequests()

  package init(
    received: @escaping @Sendable ([Raft.Message], Int) -> Void,
    unreachable: @escaping @Sendable (MemberID) -> Void,
    connected: @escaping @Sendable (MemberID) -> Void = { _ in },
    snapshotWanted: @escaping @Sendable (Raft.Message) -> Void = { _ in },
    makeSnapshotReceiver: @escaping @Sendable (Raft.Message, UInt64) -> (any SnapshotReceiver)? = {
      _,
      _ in nil
    },
    isRemoved: @escaping @Sendable (MemberID) -> Bool = { _ in false },
    selfRemoved: @escaping @Sendable (MemberID) -> Void = { _ in }
  ) {
    self.received = received
    self.unreachable = unreachable
    self.connected = connected
    self.snapshotWanted = snapshotWanted
    self.makeSnapshotReceiver = makeSnapshotReceiver
    self.isRemoved = isRemoved
    self.selfRemoved = selfRemoved
  }
}

/// How a question of a peer is refused.
package typealias PeerRefusal = RPCStatus

/// What answers the questions of peers; nil: `Unimplemented`. The status that is thrown is the
/// caller's `RPCError.status`.
package struct PeerRequests: Sendable {
  package typealias Answer<Request, Response> =
    @Sendable (_ request: Request, _ from: MemberID) async throws(PeerRefusal) -> Response

  package var leaseRenew: Answer<Martletpb.LeaseRenewRequest, Martletpb.LeaseRenewResponse>?
  package var leaseTimeToLive:
    Answer<Etcdserverpb.LeaseTimeToLiveRequest, Etcdserverpb.LeaseTimeToLiveResponse>?
  package var memberPromote:
    Answer<Etcdserverpb.MemberPromoteRequest, Etcdserverpb.MemberPromoteResponse>?
  /// Also asked by who is no member yet: `from` is then `.none`.
  package var clusterState: Answer<Martletpb.ClusterStateRequest, Martletpb.ClusterStateResponse>?
  package var hashAtIndex: Answer<Martletpb.HashAtIndexRequest, Martletpb.HashAtIndexResponse>?
  package var hashKV: Answer<Etcdserverpb.HashKVRequest, Etcdserverpb.HashKVResponse>?

  package init() {}
}

/// What takes one snapshot as it comes. Its functions are called one after the other; what they
/// throw ends the stream, and its text reaches the sender.
package protocol SnapshotReceiver: AnyObject, Sendable {
  /// The next part; parts come in order, without gaps, and as the sender made them.
  func receive(_ data: [UInt8]) async throws

  /// All parts were received. Verifies them, and hands the message to Raft; returns when the sender
  /// may consider its work done.
  func finish(sha256: [UInt8]) async throws

  /// The stream broke off; nothing else will be called.
  func abandon()
}
