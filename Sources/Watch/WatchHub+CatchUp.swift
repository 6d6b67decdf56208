import Base
package import MVCC

// Watches that are behind.
extension WatchHub {
  /// Serves lagging watches from the recent blocks, and says what is to be read from the store for
  /// those that need more: run that scan anywhere and bring its outcome to `finish`. Nil while there
  /// is nothing to read, or a scan is under way.
  ///
  /// Call it after everything else that was called on the hub. Costs nothing when nobody became
  /// ready in between.
  package func nextWork() -> EventScan? {
    guard isReadyNew else { return nil }
    isReadyNew = false
    replayRecent()
    guard !isScanning, !ready.isEmpty else { return nil }
    isScanning = true
    return makeScan()
  }

  /// The outcome of the scan that `nextWork` asked for.
  package func finish(_ outcome: EventScan.Outcome) {
    precondition(isScanning, "no scan is under way")
    isScanning = false
    isReadyNew = true
    switch outcome {
    case .events(let block):
      give(block, above: block.after.rawValue, to: .inScan)
      settle(.inScan, through: block.through.rawValue)
    case .compacted(let revision):
      cancelReady(compacted: revision.rawValue) { $0.next < revision.rawValue }
    case .failed:
      cancelReady(reason: "etcdserver: corrupt cluster") { $0.flags.contains(.inScan) }
    }
    answerAllProgress()
  }

  /// The scan will not be made: the member stops.
  package func abandonScan() {
    isScanning = false
  }

  /// Gives recent blocks to those whom they bring up to date.
  private func replayRecent() {
    guard !recent.isEmpty else { return }
    var from = Int64.max
    for place in ready where watchers[place].next > recent.after {
      watchers[place].flags.insert(.inReplay)
      from = min(from, watchers[place].next)
    }
    guard from != .max else { return }
    let through = recent.through
    for block in recent.since(from) { give(block, above: from - 1, to: .inReplay) }
    settle(.inReplay, through: through)
    answerAllProgress()
  }

  /// A scan for everybody who is ready, from where the last of them is.
  private func makeScan() -> EventScan {
    var from = Int64.max
    var spans: Set<Int32> = []
    for place in ready {
      watchers[place].flags.insert(.inScan)
      from = min(from, watchers[place].next)
      if spans.count <= Self.filterSpansMax { spans.insert(watchers[place].span) }
    }
    guard spans.count <= Self.filterSpansMax else { return EventScan(from: Revision(from)) }
    let filter = spans.map { span in
      EventScan.Span(
        key: [UInt8](index.spans[span].keyBytes),
        end: [UInt8](index.spans[span].endBytes)
      )
    }
    return EventScan(from: Revision(from), filter: filter)
  }

  /// With no more spans than this the scan itself leaves out what nobody wants.
  private static let filterSpansMax = 16

  /// Those with `mark` who were sent all there was up to `revision` are that far now.
  private func settle(_ mark: Watcher.Flags, through revision: Int64) {
    var position = ready.count - 1
    while position >= 0 {
      let place = ready[position]
      if watchers[place].flags.contains(mark) {
        watchers[place].flags.remove(mark)
        watchers[place].next = max(watchers[place].next, revision + 1)
        if watchers[place].next > delivered { becomeLevel(place) }
      }
      position -= 1
    }
  }

  private func cancelReady(
    compacted: Int64 = 0,
    reason: String = "",
    where isOver: (Watcher) -> Bool
  ) {
    for place in ready {
      let isOver = isOver(watchers[place])
      watchers[place].flags.remove(.inScan)
      if isOver {
        cancel(place, of: stream(of: place), compacted: compacted, reason: reason)
      }
    }
  }

  // MARK: Steps between the sets

  /// A watch lacks the events from `revision` on. It becomes ready only by `makeReady`.
  func fallBehind(_ place: Int32, at revision: Int64) {
    watchers[place].next = revision
    watchers[place].flags.subtract([.inScan, .inReplay, .future])
    if watchers[place].flags.contains(.lagging) {
      leaveReady(place)
    } else {
      watchers[place].flags.insert(.lagging)
      stream(of: place).laggingCount += 1
      counts.slowWatches += 1
    }
  }

  private func becomeLevel(_ place: Int32) {
    leaveReady(place)
    watchers[place].flags.subtract([.lagging, .inScan, .inReplay])
    stream(of: place).laggingCount -= 1
    counts.slowWatches -= 1
  }

  func makeReady(_ place: Int32) {
    guard watchers[place].readyPlace == nowhere else { return }
    watchers[place].readyPlace = Int32(ready.count)
    ready.append(place)
    isReadyNew = true
  }

  func leaveReady(_ place: Int32) {
    let position = watchers[place].readyPlace
    guard position != nowhere else { return }
    watchers[place].readyPlace = nowhere
    let last = ready.removeLast()
    guard last != place else { return }
    ready[Int(position)] = last
    watchers[last].readyPlace = position
  }

  func awaitWritable(_ stream: WatchStream) {
    guard !stream.awaitsWritable else { return }
    stream.awaitsWritable = true
    output.notifyWhenWritable(stream.token)
  }
}
