import Base
import NIOCore
import Proto
import RPC

/// The watches of one identity: a stream to the server, and the watches there. Confined to the event
/// loop.
///
/// Every watch of a client begins as one at the server of its own, or as one of several that begin at
/// the same place; only there it can be seen where "now" is, and what lies before it is caught up with.
/// Once it has come as far as the one that is there for its form, it joins that, and its own ends. What
/// the server keeps is one watch for each form.
final class WatchGroup {
  let identity: CallIdentity
  let upstream: Upstream
  let namespace: Namespace
  let counters: WatchCounters
  /// Told of each client's stream that ends from this side.
  private let onEnd: (ClientWatchStream) -> Void
  private var streams: [ObjectIdentifier: ClientWatchStream] = [:]
  var watches: [Int64: UpstreamWatch] = [:]
  /// The watch of a form that others join.
  var current: [WatchForm: UpstreamWatch] = [:]
  /// The watches that the server has been asked for and has not answered for, in order.
  var creating: [Int64] = []
  /// The last of those of a form: the next one that begins at the same revision joins it.
  private var beginning: [WatchForm: UpstreamWatch] = [:]
  /// Watches of whatever comes next that came when one of their form had been asked for. Where that
  /// stands may be before something that their clients have seen done, so they begin, together, behind it.
  private var queued: [WatchForm: [Watcher]] = [:]
  /// Clients that have asked how far their watches are.
  private var progressWaiters: [ObjectIdentifier] = []
  private var nextID: Int64 = 1
  private(set) var stream: UpstreamCall?
  /// What the server said last of itself.
  var header: Etcdserverpb.ResponseHeader?
  private var isClosed = false

  private static let path = "/etcdserverpb.Watch/Watch"
  /// How long after a lost stream the next one begins.
  private static let retryMilliseconds: Int64 = 100
  private static let noLeaderText = "etcdserver: no leader"

  init(
    upstream: Upstream,
    identity: CallIdentity,
    namespace: Namespace,
    _ counters: WatchCounters,
    onEnd: @escaping (ClientWatchStream) -> Void
  ) {
    self.upstream = upstream
    self.identity = identity
    self.namespace = namespace
    self.counters = counters
    self.onEnd = onEnd
  }

  var isEmpty: Bool { streams.isEmpty }
  var watchCount: Int { watches.count }

  // MARK: Clients

  func join(_ stream: ClientWatchStream) {
    streams[ObjectIdentifier(stream)] = stream
  }

  func leave(_ stream: ClientWatchStream) {
    streams[ObjectIdentifier(stream)] = nil
    for watcher in stream.watchers.values { stream.remove(watcher) }
  }

  func close() {
    isClosed = true
    stream?.cancel()
    stream = nil
  }

  /// Finds a source for a watch, from its next revision on.
  func attach(_ watcher: Watcher) {
    let start = watcher.nextRevision
    if let current = current[watcher.form], current.isCreated, start > 0,
      start >= current.nextRevision
    {
      current.add(watcher)
      announce(watcher, revision: max(header?.revision ?? 0, current.nextRevision - 1))
      return
    }
    if let watch = beginning[watcher.form], watch.nextRevision == start {
      if start > 0 { watch.add(watcher) } else { queued[watcher.form, default: []].append(watcher) }
      return
    }
    begin([watcher], watcher.form, start)
  }

  /// Asks the server for a watch, for some of the clients'.
  private func begin(_ watchers: [Watcher], _ form: WatchForm, _ start: Int64) {
    let watch = UpstreamWatch(id: nextID, form: form, startRevision: start)
    nextID += 1
    watches[watch.id] = watch
    for watcher in watchers { watch.add(watcher) }
    if stream == nil { open() } else { create(watch) }
  }

  /// The server has answered for a watch, or it is not wanted any more.
  func endBeginning(_ watch: UpstreamWatch) {
    guard beginning[watch.form] === watch else { return }
    beginning[watch.form] = nil
    if let watchers = queued.removeValue(forKey: watch.form) { begin(watchers, watch.form, 0) }
  }

  /// Takes a watch from its source, which ends when it was the last.
  func detach(_ watcher: Watcher) {
    guard let watch = watcher.source else {
      queued[watcher.form]?.removeAll { $0 === watcher }
      if queued[watcher.form]?.isEmpty == true { queued[watcher.form] = nil }
      return
    }
    watch.remove(watcher)
    if watch.watchers.isEmpty { drop(watch, tellsServer: true) }
  }

  /// Ends a watch at the server.
  func drop(_ watch: UpstreamWatch, tellsServer: Bool) {
    watches[watch.id] = nil
    if current[watch.form] === watch { current[watch.form] = nil }
    if tellsServer { send(.init(requestUnion: .cancelRequest(.init(watchID: watch.id)))) }
    endBeginning(watch)
  }

  /// Tells a client that its watch stands, once.
  func announce(_ watcher: Watcher, revision: Int64) {
    guard !watcher.isAnnounced else { return }
    watcher.isAnnounced = true
    var header = header
    header?.revision = revision
    watcher.stream.send(
      Etcdserverpb.WatchResponse(header: header, watchID: watcher.id, created: true)
    )
  }

  /// The server answers when all watches of its stream have all events there are.
  func requestProgress(for client: ClientWatchStream) {
    let id = ObjectIdentifier(client)
    guard !watches.isEmpty, !progressWaiters.contains(id) else { return }
    progressWaiters.append(id)
    send(.init(requestUnion: .progressRequest(.init())))
  }

  /// Answers those that asked for progress.
  func answerProgress() {
    let waiters = progressWaiters
    progressWaiters = []
    for id in waiters {
      streams[id]?.send(Etcdserverpb.WatchResponse(header: header, watchID: -1))
    }
  }

  // MARK: The server's stream

  private func open() {
    let headers = upstream.headers(Self.path, metadata: identity.metadata)
    let call = UpstreamCall(headers: headers, sink: self)
    stream = call
    creating = []
    beginning = [:]
    upstream.start(call)
    for id in watches.keys.sorted() {
      guard let watch = watches[id] else { continue }
      create(watch)
    }
    for (form, watchers) in queued where beginning[form] == nil {
      queued[form] = nil
      begin(watchers, form, 0)
    }
    if !progressWaiters.isEmpty { send(.init(requestUnion: .progressRequest(.init()))) }
  }

  private func create(_ watch: UpstreamWatch) {
    watch.isCreated = false
    creating.append(watch.id)
    beginning[watch.form] = watch
    send(.init(requestUnion: .createRequest(watch.request)))
  }

  private func send(_ request: Etcdserverpb.WatchRequest) {
    stream?.send(SharedBytes(encoding: request))
  }
}

extension WatchGroup: UpstreamSink {
  func upstreamReceived(_ message: UnsafeRawBufferPointer) {
    // An answer that cannot be read is none of etcd's; the stream is begun anew.
    guard let response = try? Etcdserverpb.WatchResponse(decoding: message) else {
      stream?.cancel()
      streamLost()
      return
    }
    received(response)
  }

  func upstreamEnded(_ end: CallEnd) {
    guard !isClosed else { return }
    let isNoLeader = end.status.message == Self.noLeaderText && identity.requiresLeader
    switch end.status.code {
    case .unavailable where !isNoLeader, .internal, .ok: streamLost()
    default:
      stream = nil
      for client in Array(streams.values) {
        client.call.finish(end.status)
        onEnd(client)
      }
    }
  }

  /// The watches go on from where they are, on the next stream.
  private func streamLost() {
    stream = nil
    creating = []
    beginning = [:]
    for watch in watches.values { watch.isCreated = false }
    upstream.eventLoop.assumeIsolated().scheduleTask(
      in: .milliseconds(Self.retryMilliseconds)
    ) { [weak self] in
      guard let self, self.stream == nil, !self.isClosed, !self.watches.isEmpty else { return }
      self.open()
    }
  }
}
