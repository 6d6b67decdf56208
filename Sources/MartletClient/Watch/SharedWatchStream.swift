import Proto
import RPC
import Synchronization

/// One stream of an endpoint that carries the watches of many readers.
///
/// Responses are handed to the watches' inboxes as they come. A watch whose inbox is full leaves the
/// stream, so that no reader keeps the others waiting and nothing piles up.
final class SharedWatchStream: Sendable {
  typealias Call = StreamingCall<Etcdserverpb.WatchRequest, Etcdserverpb.WatchResponse>

  /// How many watches one stream carries.
  static let watchesMax = 10_000

  private struct State {
    /// By the member's numbers.
    var inboxes: [Int64: WatchInbox] = [:]
    /// Asked for and not answered, in order, as members answer; nil for those given up meanwhile.
    var creating: [WatchInbox?] = []
    /// Those who asked how far the stream has come, and have no answer yet.
    var progressAskers: [WatchInbox] = []
    /// Watches that are or will be on this stream.
    var memberCount = 0
    /// Takes no new watches.
    var isRetired = false
    /// Requests from before the call was there; nil afterwards.
    var unsent: [Etcdserverpb.WatchRequest]? = []
    var call: Call?
    var reader: Task<Void, Never>?
    var isOver = false
  }

  /// Who the stream was opened as.
  let token: String?
  let use: EndpointUse
  private let state = Mutex(State())

  private init(_ attempt: Caller.Attempt) {
    token = attempt.token
    use = EndpointUse(attempt.endpoint)
  }

  /// A stream that is being opened, with its first watch.
  static func open(_ attempt: Caller.Attempt) -> (SharedWatchStream, SharedWatchLine) {
    let stream = SharedWatchStream(attempt)
    stream.state.withLock { state in
      state.memberCount = 1
      state.reader = Task { await stream.run(attempt) }
    }
    return (stream, SharedWatchLine(stream))
  }

  /// A place for one more watch; nil when there is none.
  func join() -> SharedWatchLine? {
    let hasPlace = state.withLock { state in
      guard !state.isRetired, !state.isOver, state.memberCount < Self.watchesMax else {
        return false
      }
      state.memberCount += 1
      return true
    }
    return hasPlace ? SharedWatchLine(self) : nil
  }

  /// No new watches; those that are here stay.
  func retire() {
    state.withLock { $0.isRetired = true }
  }

  /// Returns when the stream has ended and its reader with it.
  func ended() async {
    await state.withLock { $0.reader }?.value
  }

  // MARK: For watches

  func create(_ request: Etcdserverpb.WatchRequest, for inbox: WatchInbox) {
    let isOver = state.withLock { state in
      guard !state.isOver else { return true }
      state.creating.append(inbox)
      Self.post(request, &state)
      return false
    }
    if isOver { inbox.end(RPCError(.unavailable("the stream ended"), mayHaveBeenProcessed: false)) }
  }

  /// The member's next report on the stream goes to this inbox.
  func requestProgress(for inbox: WatchInbox) {
    state.withLock { state in
      guard !state.isOver else { return }
      state.progressAskers.append(inbox)
      Self.post(.progress, &state)
    }
  }

  /// The watch of this inbox ends, at the member too.
  func leave(_ inbox: WatchInbox) {
    let isEmpty = state.withLock { state in
      state.progressAskers.removeAll { $0 === inbox }
      if let id = inbox.watchID {
        if state.inboxes.removeValue(forKey: id) != nil { Self.post(Self.cancellation(id), &state) }
      } else if let place = state.creating.firstIndex(where: { $0 === inbox }) {
        state.creating[place] = nil
      }
      state.memberCount -= 1
      // The last takes the stream along.
      if state.memberCount == 0 { state.isRetired = true }
      return state.memberCount == 0
    }
    if isEmpty { state.withLock { $0.call }?.cancel() }
  }

  // MARK: The stream

  private func run(_ attempt: Caller.Attempt) async {
    do throws(RPCError) {
      let call = try await WatchClient(attempt.client).watch(options: attempt.watchOptions)
      let mayGoOn = state.withLock { state in
        for request in state.unsent ?? [] { call.post(request) }
        state.unsent = nil
        state.call = call
        return state.memberCount > 0
      }
      if !mayGoOn { call.cancel() }
      var responses = call.responses.makeAsyncIterator()
      while let response = try await responses.next(isolation: nil) { take(response) }
      finish(nil)
    } catch {
      finish(error)
    }
  }

  private func take(_ response: Etcdserverpb.WatchResponse) {
    let id = response.watchID
    if id == WatchSession.everyWatch, !response.created {
      let askers = state.withLock { state in
        defer { state.progressAskers = [] }
        return state.progressAskers
      }
      for inbox in askers { give(response, to: inbox) }
      return
    }
    let inbox = state.withLock { state -> WatchInbox? in
      guard response.created else {
        let inbox = state.inboxes[id]
        if response.canceled { state.inboxes[id] = nil }
        return inbox
      }
      guard !state.creating.isEmpty else { return nil }
      let inbox = state.creating.removeFirst()
      guard !response.canceled else { return inbox }
      if let inbox {
        inbox.watchID = id
        state.inboxes[id] = inbox
      } else {
        Self.post(Self.cancellation(id), &state)
      }
      return inbox
    }
    if let inbox { give(response, to: inbox) }
  }

  private func give(_ response: Etcdserverpb.WatchResponse, to inbox: WatchInbox) {
    guard !inbox.give(response), let id = inbox.watchID else { return }
    // It leaves when its reader sees that it was too slow.
    state.withLock { state in
      guard state.inboxes.removeValue(forKey: id) != nil else { return }
      Self.post(Self.cancellation(id), &state)
    }
  }

  private func finish(_ error: RPCError?) {
    let inboxes = state.withLock { state in
      state.isOver = true
      state.unsent = nil
      state.call = nil
      let inboxes = state.inboxes.values + state.creating.compactMap { $0 }
      state.inboxes = [:]
      state.creating = []
      state.progressAskers = []
      return inboxes
    }
    use.endpoint.forget(self)
    for inbox in inboxes { inbox.end(error) }
  }

  // MARK: Under the lock

  private static func post(_ request: Etcdserverpb.WatchRequest, _ state: inout State) {
    if let call = state.call { call.post(request) } else { state.unsent?.append(request) }
  }

  private static func cancellation(_ id: Int64) -> Etcdserverpb.WatchRequest {
    var request = Etcdserverpb.WatchRequest()
    request.requestUnion = .cancelRequest(Etcdserverpb.WatchCancelRequest(watchID: id))
    return request
  }
}
