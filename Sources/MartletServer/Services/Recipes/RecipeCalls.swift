import NIOCore
import Proto
import RPC

/// Why a recipe fails where no call does. The texts are those that clients of etcd know.
enum RecipeError: Error, Hashable {
  /// The key of a waiter, or of a holder, is gone, mostly with its lease.
  case sessionExpired
  case noLeader
  case notLeader
  case leaderKeyMissing
  /// A watch ended for a reason that trying again would not help.
  case watch(String)

  var text: String {
    switch self {
    case .sessionExpired: "mutex: session is expired"
    case .noLeader: "election: no leader"
    case .notLeader: "election: not leader"
    case .leaderKeyMissing: "\"leader\" field must be provided"
    case .watch(let reason): reason
    }
  }
}

/// The calls that recipes make of the member's own services, in the name of the client whose call
/// they answer.
struct RecipeCalls: Sendable {
  let options: CallOptions
  private let client: RPCClient
  private let kv: KVClient
  private let leases: LeaseClient
  private let watches: WatchClient

  /// Passes on whatever says who the client is. On the call's event loop.
  init(_ client: RPCClient, for call: ServerCall) {
    self.init(client, options: Self.identity(of: call))
  }

  private static func identity(of call: ServerCall) -> CallOptions {
    var options = CallOptions()
    if let token = call.header(named: "token") { options.metadata.append(("token", token)) }
    if let token = call.header(named: "authorization") {
      options.metadata.append(("authorization", token))
    }
    if let name = call.peerCommonName {
      options.metadata.append((LoopbackMetadata.commonName, name))
    }
    return options
  }

  init(_ client: RPCClient, options: CallOptions = CallOptions()) {
    self.options = options
    self.client = client
    kv = KVClient(client)
    leases = LeaseClient(client)
    watches = WatchClient(client)
  }

  /// The same calls with other options.
  func with(_ options: CallOptions) -> RecipeCalls {
    RecipeCalls(client, options: options)
  }

  func range(_ request: Etcdserverpb.RangeRequest) async throws -> Etcdserverpb.RangeResponse {
    try await kv.range(request, options: options)
  }

  func delete(key: [UInt8]) async throws -> Etcdserverpb.DeleteRangeResponse {
    try await kv.deleteRange(Etcdserverpb.DeleteRangeRequest(key: key), options: options)
  }

  func transact(_ request: Etcdserverpb.TxnRequest) async throws -> Etcdserverpb.TxnResponse {
    try await kv.txn(request, options: options)
  }

  /// A lease whose number the server chooses.
  func grantLease(seconds: Int64) async throws -> Int64 {
    let response = try await leases.leaseGrant(
      Etcdserverpb.LeaseGrantRequest(ttl: seconds),
      options: options
    )
    return response.id
  }

  func revokeLease(_ id: Int64) async throws {
    _ = try await leases.leaseRevoke(Etcdserverpb.LeaseRevokeRequest(id: id), options: options)
  }

  /// Gives a lease its whole time again. Throws `sessionExpired` when it is gone.
  func renewLease(_ id: Int64) async throws {
    let call = try await leases.leaseKeepAlive(options: options)
    defer { call.cancel() }
    await call.send(Etcdserverpb.LeaseKeepAliveRequest(id: id))
    var responses = call.responses.makeAsyncIterator()
    guard let response = try await responses.next(), response.ttl > 0 else {
      throw RecipeError.sessionExpired
    }
  }

  /// Calls `body` with each event of the watched keys until it returns false. Returns also when the
  /// history that is asked for was compacted: then look at the keys again.
  func watch(
    _ request: Etcdserverpb.WatchCreateRequest,
    _ body: (Mvccpb.Event, Etcdserverpb.ResponseHeader) async throws -> Bool
  ) async throws {
    let call = try await watches.watch(options: options)
    defer { call.cancel() }
    var create = Etcdserverpb.WatchRequest()
    create.requestUnion = .createRequest(request)
    await call.send(create)
    for try await response in call.responses {
      for event in response.events {
        guard try await body(event, response.header ?? Etcdserverpb.ResponseHeader()) else {
          return
        }
      }
      guard response.canceled else { continue }
      if response.compactRevision > 0 { return }
      throw RecipeError.watch(response.cancelReason)
    }
    throw RPCError(.unavailable("the watch has ended"), mayHaveBeenProcessed: false)
  }
}
