/// One watch of one stream: a record of the hub, 64 bytes.
struct Watcher: BitwiseCopyable {
  /// The watch's name on its stream.
  var id: Int64
  /// The first revision whose events were not sent yet, as far as the watch is behind; of one that
  /// is not, a bound below which it wants nothing.
  var next: Int64
  /// The stream's name for the output.
  var token: UInt64
  /// The place of the stream.
  var stream: Int32
  /// The place of the span.
  var span: Int32
  // The others of the same span, and those of the same stream.
  var spanNext = nowhere
  var spanPrevious = nowhere
  var streamNext = nowhere
  var streamPrevious = nowhere
  /// Where in the hub's list of watches that can catch up; `nowhere` when not in it.
  var readyPlace = nowhere
  var flags: Flags

  struct Flags: OptionSet, BitwiseCopyable {
    let rawValue: UInt16

    /// Filters: no puts, no deletes.
    static let noPut = Flags(rawValue: 1 << 0)
    static let noDelete = Flags(rawValue: 1 << 1)
    static let previousPair = Flags(rawValue: 1 << 2)
    /// What decides how the events of a block are written for a watch.
    static let formMask = Flags(rawValue: 7)
    static let formCount = 8

    static let fragment = Flags(rawValue: 1 << 3)
    static let progressNotify = Flags(rawValue: 1 << 4)
    /// Asked for a start that no write had reached.
    static let future = Flags(rawValue: 1 << 5)
    /// Behind: events from `next` on come from the past, not from the blocks that arrive.
    static let lagging = Flags(rawValue: 1 << 6)
    /// Something was sent since the last look for watches to send progress to.
    static let busy = Flags(rawValue: 1 << 7)
    /// Takes part in the scan under way.
    static let inScan = Flags(rawValue: 1 << 8)
    /// Takes part in the replay of recent blocks.
    static let inReplay = Flags(rawValue: 1 << 9)
  }
}

/// One stream of watches. Belongs to the hub that opened it.
package final class WatchStream {
  /// The stream's name for the output.
  package let token: UInt64
  var place = nowhere
  /// The first of the stream's watches.
  var head = nowhere
  package internal(set) var watchCount = 0
  /// How many of them are behind.
  var laggingCount = 0
  var notifyCount = 0
  /// The next number to try for a watch without one of its client's choice.
  var nextID: Int64 = 0
  /// The hub waits to hear that the stream takes more.
  var awaitsWritable = false
  /// Some watch may have a start that no write has reached yet.
  var hasFuture = false
  /// The newest revision that the stream was told of in answers to its requests.
  var announced: Int64 = 0
  /// A progress request waits until everything up to here has been sent.
  var progressTarget: Int64?
  /// The stream is in the hub's list of those with such a request.
  var isWaiting = false
  /// In which part of the interval the stream's idle watches are told of progress.
  var phase = 0

  init(token: UInt64) {
    self.token = token
  }
}
