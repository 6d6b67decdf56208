import Proto
import RPC

/// The Lock service of one event loop: a recipe over the member's own KV, Watch and Lease services.
final class QueueLockService: LockService {
  private let loop: RequestLoop
  private let client: RPCClient
  private let waiting: WaitingCalls

  init(loop: RequestLoop, client: RPCClient, waiting: WaitingCalls) {
    self.loop = loop
    self.client = client
    self.waiting = waiting
  }

  func lock(_ request: IncomingMessage<V3lockpb.LockRequest.View>, _ call: ServerCall) {
    let request = V3lockpb.LockRequest(request.view)
    let queue = ContenderQueue(RecipeCalls(client, for: call), name: request.name)
    waiting.start(call, on: loop) { reply in
      let place = try await queue.enter(lease: request.lease, value: [])
      do {
        let header = try await queue.waitUntilFirst(place)
        let response = V3lockpb.LockResponse(header: header, key: place.key)
        // A client that is gone by now does not know that it has the lock.
        guard await reply.respond(response) else { throw CancellationError() }
      } catch {
        await queue.leave(place)
        throw error
      }
    }
  }

  func unlock(_ request: IncomingMessage<V3lockpb.UnlockRequest.View>, _ call: ServerCall) {
    let key = [UInt8](request.view.key)
    let calls = RecipeCalls(client, for: call)
    waiting.start(call, on: loop) { reply in
      let deleted = try await calls.delete(key: key)
      _ = await reply.respond(V3lockpb.UnlockResponse(header: deleted.header))
    }
  }

  func callCancelled(_ call: ServerCall) {
    waiting.cancel(call, on: loop)
  }
}
