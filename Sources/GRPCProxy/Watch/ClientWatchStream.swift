import Base
import Proto
import RPC

/// What makes two watches the same but for their place.
struct WatchForm: Hashable {
  let key: [UInt8]
  let rangeEnd: [UInt8]
  let filters: Set<Int32>
  let wantsPreviousPair: Bool
  /// Long answers may come in parts.
  let takesFragments: Bool

  init(_ request: Etcdserverpb.WatchCreateRequest) {
    key = request.key
    rangeEnd = request.rangeEnd
    filters = Set(request.filters.map(\.rawValue))
    wantsPreviousPair = request.prevKV
    takesFragments = request.fragment
  }
}

/// A client's watch. Confined to the event loop.
final class Watcher {
  unowned let stream: ClientWatchStream
  /// As the client knows it.
  let id: Int64
  let form: WatchForm
  let wantsProgress: Bool
  /// Events of older revisions are not for the client: it has them or does not want them. 0: not known
  /// before the watch stands.
  var nextRevision: Int64
  /// The client has been told that its watch stands.
  var isAnnounced = false
  /// Where its events come from; nil while the client is slow.
  weak var source: UpstreamWatch?

  init(
    _ stream: ClientWatchStream,
    id: Int64,
    _ request: Etcdserverpb.WatchCreateRequest
  ) {
    self.stream = stream
    self.id = id
    form = WatchForm(request)
    wantsProgress = request.progressNotify
    nextRevision = max(request.startRevision, 0)
  }
}

/// The watches of one call. Confined to the event loop.
final class ClientWatchStream {
  let call: ServerCall
  let group: WatchGroup
  private(set) var watchers: [Int64: Watcher] = [:]
  private var nextID: Int64 = 0
  /// Watches whose events the client was too slow for; they go on from where they were.
  private var behind: [Watcher] = []

  init(_ call: ServerCall, _ group: WatchGroup) {
    self.call = call
    self.group = group
  }

  func create(_ request: Etcdserverpb.WatchCreateRequest) {
    guard request.watchID == 0 || watchers[request.watchID] == nil else {
      send(
        Etcdserverpb.WatchResponse(
          header: group.header,
          watchID: -1,
          created: true,
          canceled: true,
          cancelReason: "mvcc: duplicate watch ID provided on the WatchStream"
        )
      )
      return
    }
    var id = request.watchID
    if id == 0 {
      while watchers[nextID] != nil { nextID += 1 }
      id = nextID
      nextID += 1
    }
    let watcher = Watcher(self, id: id, request)
    watchers[id] = watcher
    group.attach(watcher)
  }

  func cancel(_ id: Int64) {
    guard let watcher = watchers[id] else { return }
    remove(watcher)
    send(Etcdserverpb.WatchResponse(header: group.header, watchID: id, canceled: true))
  }

  /// Forgets a watch, here and at its source.
  func remove(_ watcher: Watcher) {
    watchers[watcher.id] = nil
    behind.removeAll { $0 === watcher }
    group.detach(watcher)
  }

  func send(_ response: Etcdserverpb.WatchResponse) {
    call.send { response.encode(into: &$0) }
  }

  /// The watch gets its events later, from where it is now: the client does not take them.
  func holdBack(_ watcher: Watcher) {
    group.detach(watcher)
    behind.append(watcher)
    guard behind.count == 1 else { return }
    call.whenWritable { [weak self] _ in self?.catchUp() }
  }

  private func catchUp() {
    let watchers = behind
    behind = []
    for watcher in watchers { group.attach(watcher) }
  }
}
