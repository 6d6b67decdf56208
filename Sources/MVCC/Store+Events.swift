package import Base
import Storage
import Synchronization

// What watchers get: the events of batches as they end, and those of the past.
extension Store {
  /// Events are handed over early when they are this much.
  private static let eventBlockBytes = 256 << 10

  /// Has batches note their events from now on, until as many `endWatching` calls. Returns the
  /// newest revision before the first whose events are noted. Any thread but the apply thread.
  package func beginWatching() -> Revision {
    lock.lockForReading()
    defer { lock.unlock() }
    watcherCount.add(1, ordering: .relaxed)
    return Revision(current)
  }

  package func endWatching() {
    watcherCount.subtract(1, ordering: .relaxed)
  }

  /// Within `beginBatch`: the lock is held, so that `beginWatching` sees the batch's end or the
  /// batch sees the watcher.
  func beginEvents() {
    let isWatched = watcherCount.load(ordering: .relaxed) > 0
    if isWatched != recordsEvents {
      // What was noted before a pause leads nowhere: who watches now began after it.
      events.removeAll()
      eventsAfter = current
      recordsEvents = isWatched
    }
  }

  /// Whether events are noted that are worth handing over before the turn's end. Apply thread.
  package var hasManyEvents: Bool { events.byteCount >= Self.eventBlockBytes }

  /// The events of all batches since the last call; nil when there are none. Apply thread, between
  /// batches.
  package func takeEvents() -> EventBlock? {
    guard recordsEvents, current > eventsAfter else { return nil }
    let block = events.take(after: eventsAfter, through: current)
    eventsAfter = current
    return block
  }
}

/// Which part of the past a watcher wants to see.
package struct EventScan: Sendable {
  /// The first revision wanted.
  package var from: Revision
  /// Only events of these keys; nil for all.
  package var filter: [Span]?

  package struct Span: Sendable {
    package var key: [UInt8]
    package var end: [UInt8]

    package init(key: [UInt8], end: [UInt8]) {
      self.key = key
      self.end = end
    }
  }

  package init(from: Revision, filter: [Span]? = nil) {
    self.from = from
    self.filter = filter
  }

  package enum Outcome: Sendable {
    case events(EventBlock)
    /// `from` lies before this revision, the compacted one.
    case compacted(Revision)
    case failed(StoreError)
  }

  /// Bounds of one scan: bytes of events found, and revisions looked at. A main revision that was
  /// begun is finished beyond them.
  static let bytesMax = 512 << 10
  static let changesMax = 100_000
}

extension Store {
  /// The next events from a revision on, as many as the bounds of `EventScan` allow. Compaction
  /// waits meanwhile. Any thread, with a reader of its own.
  package func run(_ scan: EventScan, reader: StoreReader) -> EventScan.Outcome {
    while true {
      let before = generation.load(ordering: .acquiring)
      let outcome = runOnce(scan, reader: reader)
      if isUnchanged(since: before) { return outcome }
    }
  }

  private func runOnce(_ scan: EventScan, reader: StoreReader) -> EventScan.Outcome {
    reader.begin()
    lock.lockForReading()
    let (newest, oldest) = (current, compacted)
    guard scan.from.rawValue >= oldest else {
      lock.unlock()
      reader.end()
      return .compacted(Revision(oldest))
    }
    let pin = pins.pin(max(scan.from.rawValue, 0))
    lock.unlock()
    defer {
      reader.end()
      pins.unpin(pin)
    }
    return gather(scan, through: newest, reader)
  }

  private func gather(
    _ scan: EventScan,
    through newest: Int64,
    _ reader: StoreReader
  ) -> EventScan.Outcome {
    var found = EventWriter()
    var looked = 0
    var last = scan.from.rawValue - 1
    var isCut = false
    do throws(StoreError) {
      try reader.scan(from: scan.from.rawValue, through: newest) { revision, isTombstone, encoded in
        if revision.main != last {
          if found.byteCount >= EventScan.bytesMax || looked >= EventScan.changesMax {
            isCut = true
            return false
          }
          last = revision.main
        }
        looked += 1
        if scan.wants(encoded) {
          found.append(revision, isTombstone: isTombstone, encoded: encoded)
        }
        return true
      }
    } catch {
      return .failed(error)
    }
    let from = scan.from.rawValue
    return .events(found.take(after: from - 1, through: isCut ? last : max(newest, from - 1)))
  }

  /// Calls `body` with the encoded pair that a key had at a revision; nil when there was none, or
  /// when it can no longer be read.
  package func withPair<Result>(
    of key: UnsafeRawBufferPointer,
    at revision: Revision,
    reader: StoreReader,
    _ body: (UnsafeRawBufferPointer?) -> Result
  ) -> Result {
    while true {
      let before = generation.load(ordering: .acquiring)
      reader.begin()
      defer { reader.end() }
      let pair = pair(of: key, at: revision, reader: reader)
      if isUnchanged(since: before) { return body(pair) }
    }
  }

  private func pair(
    of key: UnsafeRawBufferPointer,
    at revision: Revision,
    reader: StoreReader
  ) -> UnsafeRawBufferPointer? {
    lock.lockForReading()
    let isKept = revision.rawValue >= compacted
    let change = isKept ? index.change(of: key, at: revision.rawValue) : nil
    lock.unlock()
    guard let change, !change.isTombstone else { return nil }
    return try? reader.pair(change.main, change.sub)
  }
}

extension EventScan {
  fileprivate func wants(_ encoded: UnsafeRawBufferPointer) -> Bool {
    guard let filter else { return true }
    guard let key = KeyValueBytes.key(of: encoded) else { return false }
    return filter.contains { $0.contains(key) }
  }
}

extension EventScan.Span {
  fileprivate func contains(_ candidate: UnsafeRawBufferPointer) -> Bool {
    key.withUnsafeBytes { key in
      end.withUnsafeBytes { end in
        let span = KeySpan(key: key, rangeEnd: end)
        return compareKeys(candidate, key) >= 0 && !span.isPast(candidate)
      }
    }
  }
}
