package import Base
package import Logging
package import Membership
import NIOCore
import NIOPosix
package import Proto
package import RPC
package import Raft
import TLS

/// What connects a member with its peers: a port where they come in, and connections to theirs.
///
/// Two streams lead to each peer, on connections of their own: one for messages with entries and
/// one for all else, so that no heartbeat or vote waits behind a long append. Whatever does not fit
/// into a peer's queue is dropped: Raft says it again.
///
/// Thread-safe. `listen`, `update`, `send`; then `stop`.
package final class PeerTransport: Sendable {
  package let configuration: PeerConfiguration
  let handlers: PeerHandlers
  let logger: Logger
  let tls: PeerTLS?

  /// Nothing is bound or dialed yet. `httpHandler` answers what is not gRPC on the peer port.
  package init(
    _ configuration: PeerConfiguration,
    handlers: PeerHandlers,
    tls: PeerTLS? = nil,
    httpHandler: (any HTTPHandler)? = nil,
    logger: Logger
  ) {
    self.configuration = configuration
    self.handlers = handlers
    self.tls = tls
    self.logger = logger
  }

  /// Binds the addresses. Returns what was bound, as `127.0.0.1:2380`. Throws `PeerListenError`.
  package func listen(on urls: [ServerURL]) async throws -> [String] {
    []
  }

  /// The members to talk to, this one excepted. Connections to others are closed; those to members
  /// whose URLs changed are made anew.
  package func update(peers: [PeerAddress]) {}

  /// Sends what the replica's turn put out. Never blocks. Messages of kind `snapshot` go to
  /// `PeerHandlers.snapshotWanted` at once.
  package func send(_ messages: [Raft.Message]) {}

  /// The receiver of `PeerHandlers.received` is done with messages of that weight.
  package func took(bytes: Int) {}

  /// When the peer was last heard, in nanoseconds of CLOCK_MONOTONIC; nil when never. Any message
  /// and any answer counts.
  package func lastHeard(from id: MemberID) -> UInt64? {
    nil
  }

  /// Since when, in nanoseconds of CLOCK_MONOTONIC, the stream of heartbeats to the peer stands; nil
  /// while it does not.
  package func connectedSince(_ id: MemberID) -> UInt64? {
    nil
  }

  /// Calls a peer: one request, one answer; the peer's addresses are tried in turn. Throws what the
  /// peer says, or `Unavailable` when it is unknown or cannot be reached.
  ///
  ///     try await peers.call(leader, timeout: .seconds(5)) { peer, options throws(RPCError) in
  ///       try await peer.leaseRenew(request, options: options)
  ///     }
  package func call<Response: Sendable>(
    _ id: MemberID,
    timeout: Duration,
    _ body: @Sendable (PeerClient, CallOptions) async throws(RPCError) -> Response
  ) async throws(RPCError) -> Response {
    throw RPCError(.unavailable("no such peer"), mayHaveBeenProcessed: false)
  }

  /// Asks whoever listens at an address for the state of its cluster: for a member that is not part
  /// of one yet.
  package static func clusterState(
    at url: ServerURL,
    tls: PeerTLS?,
    timeout: Duration
  ) async throws(RPCError) -> Martletpb.ClusterStateResponse {
    throw RPCError(.unavailable("not reachable"), mayHaveBeenProcessed: false)
  }

  /// Sends a snapshot to `message.to`: `message` is Raft's, as `PeerHandlers.snapshotWanted` got
  /// it; `next` returns the parts of `totalBytes` in order, nil at the end, and `sha256` is asked
  /// then. Returns when the peer has verified it. No more than a few parts are in memory.
  package func sendSnapshot(
    _ message: Raft.Message,
    totalBytes: UInt64,
    next: @Sendable (_ bytesMax: Int) async throws -> [UInt8]?,
    sha256: @Sendable () -> [UInt8]
  ) async throws {}

  /// Stops to listen and closes all connections.
  package func stop() async {}
}

/// Why a peer address could not be bound.
package struct PeerListenError: Error, Sendable, CustomStringConvertible {
  package let address: String
  package let reason: String

  package var description: String { "cannot listen for peers on \(address): \(reason)" }
}
