import Base
package import MVCC

/// The watches of one event loop: gets the events of the store in blocks, in the order of their
/// revisions, and sends each watch what it asked for.
///
/// A watch is either *level*, which means that everything up to `delivered` was sent to it, and then
/// it is served from each block as it comes; or it *lags*: it began in the past, or its stream took
/// no more when there was an event for it. A lagging watch knows the first revision that it lacks,
/// costs no memory beyond that, and catches up when its stream is writable: from the recent blocks
/// if they reach back far enough, else from the store, in scans that all lagging watches share.
///
/// Does no I/O of its own and knows no clock. One thread uses it.
package final class WatchHub {
  let store: Store
  let reader: StoreReader
  let output: any WatchOutput
  let limits: WatchLimits

  var index: IntervalIndex
  var watchers = Slab<Watcher>()
  /// Watches by stream and id.
  var ids = PlaceTable()
  var streams: [WatchStream?] = []
  var freeStreams: [Int32] = []

  /// Every event up to here was given to the level watches. Meaningless without streams.
  package internal(set) var delivered: Int64 = 0
  /// Lagging watches whose streams are writable, in no particular order.
  var ready: [Int32] = []
  /// Something was added to `ready` since the last `nextWork`.
  var isReadyNew = false
  var isScanning = false
  var recent = RecentBlocks()
  /// Streams with a progress request that waits.
  var progressWaiters: [WatchStream] = []
  var phase = 0
  package internal(set) var counts = WatchCounts()

  // Memory used again and again while a block is delivered.
  var hits: [Hit] = []
  var touched: [Int32] = []
  var head = ByteWriter(capacity: 128)
  var letters = LetterBox()
  /// The revision for which `head` begins with a header, and how long that is.
  var headRevision: Int64 = 0
  var headerLength = 0

  /// One event for one span, and the next for the same.
  struct Hit {
    var frame: EventFrame
    var next: Int32
  }

  /// How many parts the interval of progress notifications has; see `notifyIdle`.
  package static let phaseCount = 16

  /// A hub for `store`; `seed` should be random.
  package init(
    store: Store,
    output: any WatchOutput,
    limits: WatchLimits = WatchLimits(),
    seed: UInt64
  ) {
    self.store = store
    self.output = output
    self.limits = limits
    reader = store.makeReader()
    index = IntervalIndex(seed: seed)
  }

  /// Whether any stream is open: only then must blocks be delivered.
  package var isActive: Bool { counts.streams > 0 }

  // MARK: Streams

  /// Opens a stream. The first one makes the store note events; the owner must see to it that
  /// blocks made from now on reach `deliver`.
  package func openStream(_ token: UInt64) -> WatchStream {
    if counts.streams == 0 { delivered = store.beginWatching().rawValue }
    let stream = WatchStream(token: token)
    if let place = freeStreams.popLast() {
      stream.place = place
      streams[Int(place)] = stream
    } else {
      stream.place = Int32(streams.count)
      streams.append(stream)
    }
    stream.phase = phase
    counts.streams += 1
    return stream
  }

  /// Forgets a stream that has ended, with its watches. Nothing is sent.
  package func closeStream(_ stream: WatchStream) {
    guard stream.place != nowhere else { return }
    while stream.head != nowhere { remove(stream.head, of: stream) }
    stream.progressTarget = nil
    streams[Int(stream.place)] = nil
    freeStreams.append(stream.place)
    stream.place = nowhere
    counts.streams -= 1
    guard counts.streams == 0 else { return }
    store.endWatching()
    recent.removeAll()
    streams = []
    freeStreams = []
    progressWaiters = []
  }

  /// The stream takes more again.
  package func becameWritable(_ stream: WatchStream) {
    guard stream.place != nowhere else { return }
    stream.awaitsWritable = false
    if stream.laggingCount > 0 {
      var place = stream.head
      while place != nowhere {
        if watchers[place].flags.contains(.lagging) { makeReady(place) }
        place = watchers[place].streamNext
      }
    }
    answerProgress(stream)
  }

  // MARK: Lists

  func stream(of place: Int32) -> WatchStream {
    guard let stream = streams[Int(watchers[place].stream)] else {
      preconditionFailure("watch \(watchers[place].id) has no stream")
    }
    return stream
  }

  /// Takes a watch out of everything.
  func remove(_ place: Int32, of stream: WatchStream) {
    let watcher = watchers[place]
    if watcher.flags.contains(.lagging) {
      leaveReady(place)
      stream.laggingCount -= 1
      counts.slowWatches -= 1
    }
    if watcher.spanPrevious != nowhere {
      watchers[watcher.spanPrevious].spanNext = watcher.spanNext
    } else {
      index.spans[watcher.span].head = watcher.spanNext
    }
    if watcher.spanNext != nowhere {
      watchers[watcher.spanNext].spanPrevious = watcher.spanPrevious
    }
    if index.spans[watcher.span].head == nowhere { index.remove(watcher.span) }
    if watcher.streamPrevious != nowhere {
      watchers[watcher.streamPrevious].streamNext = watcher.streamNext
    } else {
      stream.head = watcher.streamNext
    }
    if watcher.streamNext != nowhere {
      watchers[watcher.streamNext].streamPrevious = watcher.streamPrevious
    }
    ids.remove(Self.hash(watcher.token, watcher.id), place)
    if watcher.flags.contains(.progressNotify) { stream.notifyCount -= 1 }
    stream.watchCount -= 1
    counts.watches -= 1
    watchers.remove(place)
  }

  /// The place of a stream's watch; `nowhere` when there is none with this id.
  func find(_ id: Int64, of stream: WatchStream) -> Int32 {
    ids.find(Self.hash(stream.token, id)) {
      watchers[$0].id == id && watchers[$0].stream == stream.place
    }
  }

  static func hash(_ token: UInt64, _ id: Int64) -> UInt32 {
    var hasher = Hasher()
    hasher.combine(token)
    hasher.combine(id)
    return UInt32(truncatingIfNeeded: hasher.finalize())
  }
}
