import Proto

/// A watch at the server, for any number of watches of clients. Confined to the event loop.
final class UpstreamWatch {
  let id: Int64
  let form: WatchForm
  /// The revision of the next event that can come; until the watch stands the one that was asked for,
  /// 0 for whatever comes next.
  var nextRevision: Int64
  /// The server has said that the watch stands, on the stream that there is now.
  var isCreated = false
  /// In the order of their coming.
  private(set) var watchers: [Watcher] = []

  init(id: Int64, form: WatchForm, startRevision: Int64) {
    self.id = id
    self.form = form
    nextRevision = startRevision
  }

  func add(_ watcher: Watcher) {
    watcher.source = self
    watchers.append(watcher)
  }

  func remove(_ watcher: Watcher) {
    watcher.source = nil
    watchers.removeAll { $0 === watcher }
  }

  /// Gives all watches away.
  func takeWatchers() -> [Watcher] {
    defer { watchers = [] }
    return watchers
  }

  var request: Etcdserverpb.WatchCreateRequest {
    Etcdserverpb.WatchCreateRequest(
      key: form.key,
      rangeEnd: form.rangeEnd,
      startRevision: nextRevision,
      progressNotify: true,
      filters: form.filters.sorted().map { .init(rawValue: $0) },
      prevKV: form.wantsPreviousPair,
      watchID: id,
      fragment: form.takesFragments
    )
  }
}
