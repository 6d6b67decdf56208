import Base
import Proto
import RPC

/// What comes from the server.
extension WatchGroup {
  func received(_ response: Etcdserverpb.WatchResponse) {
    if let new = response.header { header = new }
    if response.created { return created(response) }
    if response.watchID == -1, !response.canceled { return answerProgress() }
    guard let watch = watches[response.watchID] else { return }
    if response.canceled { return canceled(watch, response) }
    if response.events.isEmpty { return progressed(watch, response) }
    deliver(watch, response)
  }

  /// The server answers requests in their order.
  private func created(_ response: Etcdserverpb.WatchResponse) {
    guard !creating.isEmpty else { return }
    let id = creating.removeFirst()
    guard let watch = watches[id] else { return }
    if response.canceled { return canceled(watch, response) }
    watch.isCreated = true
    let revision = response.header?.revision ?? 0
    if watch.nextRevision == 0 { watch.nextRevision = revision + 1 }
    for watcher in watch.watchers {
      if watcher.nextRevision == 0 { watcher.nextRevision = watch.nextRevision }
      announce(watcher, revision: revision)
    }
    settle(watch, serverRevision: revision)
    endBeginning(watch)
  }

  /// The watch takes the place that others join, or its own join what is there.
  private func settle(_ watch: UpstreamWatch, serverRevision: Int64) {
    guard watches[watch.id] === watch else { return }
    guard let current = current[watch.form] else {
      // One that is behind would keep those that join it waiting.
      if watch.nextRevision > serverRevision { self.current[watch.form] = watch }
      return
    }
    guard current !== watch, current.isCreated, watch.nextRevision >= current.nextRevision else {
      return
    }
    for watcher in watch.takeWatchers() { current.add(watcher) }
    drop(watch, tellsServer: true)
  }

  private func canceled(_ watch: UpstreamWatch, _ response: Etcdserverpb.WatchResponse) {
    drop(watch, tellsServer: false)
    for watcher in watch.takeWatchers() {
      watcher.source = nil
      var answer = response
      answer.watchID = response.watchID == -1 ? -1 : watcher.id
      answer.created = response.created && !watcher.isAnnounced
      watcher.stream.send(answer)
      watcher.stream.remove(watcher)
    }
  }

  /// No events up to the header's revision.
  private func progressed(_ watch: UpstreamWatch, _ response: Etcdserverpb.WatchResponse) {
    let revision = response.header?.revision ?? 0
    watch.nextRevision = max(watch.nextRevision, revision + 1)
    for watcher in watch.watchers where watcher.nextRevision <= revision + 1 {
      watcher.nextRevision = revision + 1
      guard watcher.wantsProgress else { continue }
      watcher.stream.send(
        Etcdserverpb.WatchResponse(header: response.header, watchID: watcher.id)
      )
    }
    settle(watch, serverRevision: revision)
  }

  private func deliver(_ watch: UpstreamWatch, _ response: Etcdserverpb.WatchResponse) {
    var events = response.events
    if !namespace.isEmpty {
      for place in events.indices { namespace.outward(&events[place]) }
    }
    let first = events.first?.kv?.modRevision ?? 0
    let last = events.last?.kv?.modRevision ?? 0
    // The events of a revision may lie in several parts, and are not all there before the last.
    let next = response.fragment ? last : last + 1
    let all = SharedBytes(encoding: Etcdserverpb.WatchResponse(events: events))
    if watch.watchers.count > 1 {
      counters.eventsCoalesced += UInt64(events.count * (watch.watchers.count - 1))
    }
    for watcher in watch.watchers {
      // A client that has left meanwhile is gone from the list by the time it is reached.
      guard watcher.source === watch else { continue }
      var body = all
      if watcher.nextRevision > first {
        let rest = events.filter { ($0.kv?.modRevision ?? 0) >= watcher.nextRevision }
        guard !rest.isEmpty else { continue }
        body = SharedBytes(encoding: Etcdserverpb.WatchResponse(events: rest))
      }
      watcher.nextRevision = max(watcher.nextRevision, next)
      let head = Etcdserverpb.WatchResponse(
        header: response.header,
        watchID: watcher.id,
        fragment: response.fragment
      )
      let call = watcher.stream.call
      head.encoded().withUnsafeBytes { call.send(head: $0, body: body) }
      if !call.isWritable { watcher.stream.holdBack(watcher) }
    }
    watch.nextRevision = max(watch.nextRevision, next)
    settle(watch, serverRevision: response.header?.revision ?? 0)
  }
}
