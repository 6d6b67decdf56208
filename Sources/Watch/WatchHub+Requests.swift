import Base
import MVCC

/// Why a watch is not made, in the words that clients know.
package enum WatchRefusal {
  case duplicateID
  case emptyRange
  case negativeRevision
  case tooMany
  /// Somebody else's reason: the text of a permission that is missing, say.
  case other(String)

  var reason: String {
    switch self {
    case .duplicateID: "mvcc: duplicate watch ID provided on the WatchStream"
    case .emptyRange: "mvcc: watcher range is empty"
    case .negativeRevision: "etcdserver: mvcc: required revision has been compacted"
    case .tooMany: "etcdserver: too many requests"
    case .other(let text): text
    }
  }
}

// What clients ask for.
extension WatchHub {
  /// The id in answers that are about no watch.
  private static let noWatchID: Int64 = -1

  /// Makes a watch and answers `created`; or answers why not.
  package func create(_ demand: WatchDemand, on stream: WatchStream) {
    guard stream.place != nowhere else { return }
    if let refusal = refusal(demand, stream) { return refuse(refusal, on: stream) }
    let now = store.currentRevision.rawValue
    let place = add(demand, to: stream, now: now)
    announce(now, on: stream) { head in
      head.append(field: 2, varint: watchers[place].id)
      head.append(field: 3, varint: UInt64(1))
    }
    counts.created += 1
    let wanted = demand.startRevision
    if wanted > 0, wanted < store.compactedRevision.rawValue {
      cancelCompacted(place, of: stream)
    } else if wanted > 0, wanted <= delivered {
      fallBehind(place, at: wanted)
      if output.isWritable(stream.token) { makeReady(place) } else { awaitWritable(stream) }
    }
  }

  private func refusal(_ demand: WatchDemand, _ stream: WatchStream) -> WatchRefusal? {
    if demand.startRevision < 0 { return .negativeRevision }
    let span = KeySpan(key: demand.key, rangeEnd: demand.rangeEnd)
    if span.shape == .bounded, compareKeys(demand.key, demand.rangeEnd) >= 0 { return .emptyRange }
    if demand.watchID != 0, find(demand.watchID, of: stream) != nowhere { return .duplicateID }
    let bytes = counts.watches * Self.watchOverheadBytes + index.byteCount
    if counts.watches >= limits.watchesMax || bytes >= limits.watchBytesMax { return .tooMany }
    return nil
  }

  /// Memory of a watch besides its span: the record and its share of the tables.
  private static let watchOverheadBytes = MemoryLayout<Watcher>.stride + 24

  /// Answers that a watch was not made.
  package func refuse(_ refusal: WatchRefusal, on stream: WatchStream) {
    let compacted = max(store.compactedRevision.rawValue, 1)
    announce(store.currentRevision.rawValue, on: stream) { head in
      head.append(field: 2, varint: Self.noWatchID)
      head.append(field: 3, varint: UInt64(1))
      head.append(field: 4, varint: UInt64(1))
      if case .negativeRevision = refusal { head.append(field: 5, varint: compacted) }
      var reason = refusal.reason
      reason.withUTF8 { head.append(field: 6, content: UnsafeRawBufferPointer($0)) }
    }
  }

  private func add(_ demand: WatchDemand, to stream: WatchStream, now: Int64) -> Int32 {
    var flags: Watcher.Flags = []
    if demand.noPut { flags.insert(.noPut) }
    if demand.noDelete { flags.insert(.noDelete) }
    if demand.previousPair { flags.insert(.previousPair) }
    if demand.fragment { flags.insert(.fragment) }
    if demand.progressNotify {
      flags.insert(.progressNotify)
      stream.notifyCount += 1
    }
    if demand.startRevision > now {
      flags.insert(.future)
      stream.hasFuture = true
    }
    let span = index.insert(key: demand.key, end: demand.rangeEnd)
    let place = watchers.insert(
      Watcher(
        id: demand.watchID != 0 ? demand.watchID : freeID(of: stream),
        next: demand.startRevision > 0 ? demand.startRevision : now + 1,
        token: stream.token,
        stream: stream.place,
        span: span,
        flags: flags
      )
    )
    watchers[place].spanNext = index.spans[span].head
    if index.spans[span].head != nowhere { watchers[index.spans[span].head].spanPrevious = place }
    index.spans[span].head = place
    watchers[place].streamNext = stream.head
    if stream.head != nowhere { watchers[stream.head].streamPrevious = place }
    stream.head = place
    ids.insert(Self.hash(stream.token, watchers[place].id), place)
    stream.watchCount += 1
    counts.watches += 1
    return place
  }

  private func freeID(of stream: WatchStream) -> Int64 {
    while find(stream.nextID, of: stream) != nowhere { stream.nextID += 1 }
    defer { stream.nextID += 1 }
    return stream.nextID
  }

  /// Ends a watch and answers `canceled`. An id that is not in use gets no answer, as with etcd.
  package func cancel(_ id: Int64, on stream: WatchStream) {
    guard stream.place != nowhere else { return }
    let place = find(id, of: stream)
    guard place != nowhere else { return }
    remove(place, of: stream)
    announce(store.currentRevision.rawValue, on: stream) { head in
      head.append(field: 2, varint: id)
      head.append(field: 4, varint: UInt64(1))
    }
    // It may have been the one that others of a progress request waited for.
    answerProgress(stream)
  }

  /// Ends every watch of the stream with this reason: what they were allowed has changed.
  package func cancelAll(on stream: WatchStream, reason: String) {
    guard stream.place != nowhere else { return }
    while stream.head != nowhere { cancel(stream.head, of: stream, reason: reason) }
  }

  /// Ends a watch whose next event is compacted away.
  func cancelCompacted(_ place: Int32, of stream: WatchStream) {
    cancel(place, of: stream, compacted: store.compactedRevision.rawValue)
  }

  func cancel(_ place: Int32, of stream: WatchStream, compacted: Int64 = 0, reason: String = "") {
    let id = watchers[place].id
    remove(place, of: stream)
    announce(store.currentRevision.rawValue, on: stream) { head in
      head.append(field: 2, varint: id)
      head.append(field: 4, varint: UInt64(1))
      head.append(field: 5, varint: compacted)
      if !reason.isEmpty {
        var reason = reason
        reason.withUTF8 { head.append(field: 6, content: UnsafeRawBufferPointer($0)) }
      }
    }
  }

  /// Sends a response without events.
  private func announce(
    _ revision: Int64,
    on stream: WatchStream,
    _ body: (inout ByteWriter) -> Void
  ) {
    stream.announced = max(stream.announced, revision)
    head.removeAll()
    output.header.write(revision: Revision(revision), into: &head)
    body(&head)
    output.send(stream.token, head.bytes, UnsafeRawBufferPointer(start: nil, count: 0))
  }
}

// Progress: "everything up to here was sent".
extension WatchHub {
  /// Answers, now or when it has become true, that all events up to at least the revision that the
  /// store has now were sent on the stream.
  package func requestProgress(on stream: WatchStream) {
    guard stream.place != nowhere else { return }
    stream.progressTarget = store.currentRevision.rawValue
    answerProgress(stream)
    if stream.progressTarget != nil, !stream.isWaiting {
      stream.isWaiting = true
      progressWaiters.append(stream)
    }
  }

  /// Answers a waiting request if its time has come.
  func answerProgress(_ stream: WatchStream) {
    guard let target = stream.progressTarget else { return }
    guard output.isWritable(stream.token) else { return awaitWritable(stream) }
    guard isLevel(stream, at: target) else { return }
    stream.progressTarget = nil
    announce(delivered, on: stream) { $0.append(field: 2, varint: Self.noWatchID) }
  }

  func answerAllProgress() {
    guard !progressWaiters.isEmpty else { return }
    for stream in progressWaiters {
      answerProgress(stream)
      stream.isWaiting = stream.progressTarget != nil
    }
    progressWaiters.removeAll { !$0.isWaiting }
  }

  /// Whether everything up to `delivered`, which must reach `target`, was sent to all watches of the
  /// stream, and none of them begins later.
  private func isLevel(_ stream: WatchStream, at target: Int64) -> Bool {
    guard stream.laggingCount == 0, delivered >= max(target, stream.announced) else { return false }
    guard stream.hasFuture else { return true }
    var place = stream.head
    while place != nowhere {
      if isFuture(place) { return false }
      place = watchers[place].streamNext
    }
    stream.hasFuture = false
    return true
  }

  private func isFuture(_ place: Int32) -> Bool {
    watchers[place].flags.contains(.future) && watchers[place].next > delivered
  }

  /// Tells watches that asked for it, and were sent nothing for an interval, how far they are. Call
  /// it `phaseCount` times an interval, evenly: a stream's turn comes with one of them.
  package func notifyIdle() {
    phase = (phase + 1) % Self.phaseCount
    for case let stream? in streams where stream.phase == phase && stream.notifyCount > 0 {
      notifyIdle(stream)
    }
  }

  private func notifyIdle(_ stream: WatchStream) {
    let isTold = output.isWritable(stream.token) && delivered >= stream.announced
    var place = stream.head
    while place != nowhere {
      let flags = watchers[place].flags
      if flags.contains(.progressNotify) {
        watchers[place].flags.remove(.busy)
        if isTold, flags.isDisjoint(with: [.busy, .lagging]), !isFuture(place) {
          let id = watchers[place].id
          announce(delivered, on: stream) { $0.append(field: 2, varint: id) }
        }
      }
      place = watchers[place].streamNext
    }
  }
}
