import Peer
import Proto
import RPC
import Replica
import Synchronization

/// Passes what comes in on the peer port to the member, from when it can answer until it stops.
/// Thread-safe.
///
/// It is there before the member is, which needs the peer transport first.
final class PeerQuestions: HTTPHandler, Sendable {
  private let port = Mutex<PeerPort?>(nil)

  /// From now on the member answers. What is installed is kept until `remove`.
  func install(_ port: PeerPort) {
    self.port.withLock { $0 = port }
  }

  func remove() {
    port.withLock { $0 = nil }
  }

  func respond(to request: HTTPRequest) async -> HTTPResponse {
    guard let port = port.withLock({ $0 }) else {
      return HTTPResponse(status: 503, text: "the member is not ready\n")
    }
    return await port.respond(to: request)
  }

  private func member() throws(PeerRefusal) -> MemberContext {
    guard let port = port.withLock({ $0 }) else { throw RPCStatus(.serverStopped) }
    return port.member
  }

  /// The questions about membership and leases.
  var requests: PeerRequests {
    var requests = PeerRequests()
    requests.clusterState = { [self] (_, _) async throws(PeerRefusal) in
      try member().clusterState
    }
    requests.memberPromote = { [self] (request, _) async throws(PeerRefusal) in
      try await member().promote(request)
    }
    requests.leaseRenew = { [self] (request, _) async throws(PeerRefusal) in
      try await member().answer(request)
    }
    requests.leaseTimeToLive = { [self] (request, _) async throws(PeerRefusal) in
      try await member().answer(request)
    }
    return requests
  }
}
