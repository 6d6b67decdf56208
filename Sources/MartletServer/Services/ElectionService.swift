import Proto
import RPC

/// The Election service of one event loop: a recipe over the member's own KV, Watch and Lease
/// services. Who is first in the row of a name leads; the value of the key is what it proclaims.
final class QueueElectionService: ElectionService {
  private let loop: RequestLoop
  private let client: RPCClient
  private let waiting: WaitingCalls

  init(loop: RequestLoop, client: RPCClient, waiting: WaitingCalls) {
    self.loop = loop
    self.client = client
    self.waiting = waiting
  }

  func campaign(
    _ request: IncomingMessage<V3electionpb.CampaignRequest.View>,
    _ call: ServerCall
  ) {
    let request = V3electionpb.CampaignRequest(request.view)
    let queue = ContenderQueue(RecipeCalls(client, for: call), name: request.name)
    waiting.start(call, on: loop) { reply in
      let place = try await queue.enter(lease: request.lease, value: request.value)
      do {
        var leader = V3electionpb.LeaderKey()
        leader.name = request.name
        leader.key = place.key
        leader.rev = place.revision
        leader.lease = place.lease
        if let found = place.found, found.value != request.value {
          _ = try await queue.calls.proclaim(leader, request.value)
        }
        let header = try await queue.waitUntilLeading(place)
        let response = V3electionpb.CampaignResponse(header: header, leader: leader)
        // A client that is gone by now does not know that it leads.
        guard await reply.respond(response) else { throw CancellationError() }
      } catch {
        await queue.leave(place)
        throw error
      }
    }
  }

  func proclaim(
    _ request: IncomingMessage<V3electionpb.ProclaimRequest.View>,
    _ call: ServerCall
  ) {
    let request = V3electionpb.ProclaimRequest(request.view)
    let calls = RecipeCalls(client, for: call)
    waiting.start(call, on: loop) { reply in
      guard let leader = request.leader else { throw RecipeError.leaderKeyMissing }
      let header = try await calls.proclaim(leader, request.value)
      _ = await reply.respond(V3electionpb.ProclaimResponse(header: header))
    }
  }

  func leader(_ request: IncomingMessage<V3electionpb.LeaderRequest.View>, _ call: ServerCall) {
    let queue = ContenderQueue(RecipeCalls(client, for: call), name: [UInt8](request.view.name))
    waiting.start(call, on: loop) { reply in
      let (first, header) = try await queue.first()
      guard let first else { throw RecipeError.noLeader }
      _ = await reply.respond(V3electionpb.LeaderResponse(header: header, kv: first))
    }
  }

  func observe(_ request: IncomingMessage<V3electionpb.LeaderRequest.View>, _ call: ServerCall) {
    let queue = ContenderQueue(RecipeCalls(client, for: call), name: [UInt8](request.view.name))
    call.sendHeaders()
    waiting.start(call, on: loop) { reply in
      while true { try await queue.observeLeader(reply) }
    }
  }

  func resign(_ request: IncomingMessage<V3electionpb.ResignRequest.View>, _ call: ServerCall) {
    let request = V3electionpb.ResignRequest(request.view)
    let calls = RecipeCalls(client, for: call)
    waiting.start(call, on: loop) { reply in
      guard let leader = request.leader else { throw RecipeError.leaderKeyMissing }
      var transaction = Etcdserverpb.TxnRequest()
      transaction.compare = [.createRevision(of: leader.key, is: leader.rev)]
      transaction.success = [.delete(key: leader.key)]
      // Who does not lead any more has nothing to resign, and that is fine.
      let response = try await calls.transact(transaction)
      _ = await reply.respond(V3electionpb.ResignResponse(header: response.header))
    }
  }

  func callCancelled(_ call: ServerCall) {
    waiting.cancel(call, on: loop)
  }
}

extension RecipeCalls {
  /// Changes a contender's value if it still has its place. Throws `notLeader` when not.
  fileprivate func proclaim(
    _ leader: V3electionpb.LeaderKey,
    _ value: [UInt8]
  ) async throws -> Etcdserverpb.ResponseHeader? {
    var put = Etcdserverpb.PutRequest(key: leader.key, value: value, lease: leader.lease)
    // Without a lease named, the key stays with the one it has.
    put.ignoreLease = leader.lease == 0
    var request = Etcdserverpb.TxnRequest()
    request.compare = [.createRevision(of: leader.key, is: leader.rev)]
    request.success = [.put(put)]
    let response = try await transact(request)
    guard response.succeeded else { throw RecipeError.notLeader }
    return response.header
  }
}

extension ContenderQueue {
  /// As `waitUntilFirst`, with the election's word for a place that is lost.
  fileprivate func waitUntilLeading(_ place: Place) async throws -> Etcdserverpb.ResponseHeader {
    do {
      return try await waitUntilFirst(place)
    } catch RecipeError.sessionExpired {
      throw RecipeError.notLeader
    }
  }

  /// Sends the leader, as soon as there is one, and each value that it proclaims, until it is gone.
  fileprivate func observeLeader(_ reply: CallReply) async throws {
    var (leader, header) = try await first()
    if leader == nil {
      try await calls.watch(
        Etcdserverpb.WatchCreateRequest(
          key: prefix,
          rangeEnd: KeyPrefix.end(of: prefix),
          startRevision: header.revision + 1,
          filters: [.nodelete]
        )
      ) { event, watchHeader in
        guard let kv = event.kv, kv.createRevision == kv.modRevision else { return true }
        leader = kv
        header = watchHeader
        header.revision = kv.modRevision
        return false
      }
    }
    // Compaction was faster than the watch: look again.
    guard let leader else { return }
    try await reply.send(V3electionpb.LeaderResponse(header: header, kv: leader))
    try await calls.watch(
      Etcdserverpb.WatchCreateRequest(key: leader.key, startRevision: header.revision + 1)
    ) { event, watchHeader in
      guard event.type == .put, let kv = event.kv else { return false }
      var header = watchHeader
      header.revision = kv.modRevision
      try await reply.send(V3electionpb.LeaderResponse(header: header, kv: kv))
      return true
    }
  }
}
