import Base
import MVCC
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
  private let hasher = Mutex<StoreHasher?>(nil)

  /// From now on the member answers. What is installed is kept until `remove`.
  func install(_ port: PeerPort) {
    self.port.withLock { $0 = port }
  }

  /// From now on the member tells what its store holds. Kept until `remove`.
  func install(_ hasher: StoreHasher) {
    self.hasher.withLock { $0 = hasher }
  }

  func remove() {
    port.withLock { $0 = nil }
    hasher.withLock { $0 = nil }
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

  private func hashKV(
    _ request: Etcdserverpb.HashKVRequest
  ) async throws(PeerRefusal) -> Etcdserverpb.HashKVResponse {
    guard let hasher = hasher.withLock({ $0 }) else { throw RPCStatus(.serverStopped) }
    do throws(RequestError) {
      let hash = try await hasher.hash(at: Revision(request.revision))
      var response = Etcdserverpb.HashKVResponse()
      response.hash = hash.hash
      response.compactRevision = hash.compactRevision.rawValue
      response.hashRevision = hash.hashRevision.rawValue
      return response
    } catch {
      throw RPCStatus(error)
    }
  }

  /// The questions about membership, leases and stores.
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
    requests.hashKV = { [self] (request, _) async throws(PeerRefusal) in
      try await hashKV(request)
    }
    return requests
  }
}
