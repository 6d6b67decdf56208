package import Base
package import MVCC

/// Where a hub's responses go. All calls come on the hub's thread, and none may call the hub back
/// before it has returned.
package protocol WatchOutput: AnyObject {
  /// What the headers of responses say besides the revision.
  var header: ResponseHeader { get }

  /// Whether the stream takes more now. False too when it has ended.
  func isWritable(_ stream: UInt64) -> Bool

  /// `WatchHub.becameWritable` is to be called once when the stream, which takes no more now, does.
  func notifyWhenWritable(_ stream: UInt64)

  /// Sends a response that consists of `head` and `body`. The bytes are valid during the call only.
  func send(_ stream: UInt64, _ head: UnsafeRawBufferPointer, _ body: UnsafeRawBufferPointer)

  /// The same with a long body that other streams are sent too.
  func send(_ stream: UInt64, _ head: UnsafeRawBufferPointer, shared body: SharedBytes)
}

/// Bounds of one hub.
package struct WatchLimits: Sendable {
  /// Watches of all streams.
  package var watchesMax = 5_000_000
  /// Memory of all watches, their keys included, in bytes.
  package var watchBytesMax = 1 << 30
  /// Events of several revisions go into one response up to this size; those of one revision are
  /// never parted, unless the watch asked for fragments.
  package var responseBytes = 256 << 10
  /// A watch that asked for fragments gets none longer than this, if it has more than one event.
  package var fragmentBytesMax = 1_572_864
  /// Recent blocks that are kept for watches that are a little behind, in bytes.
  package var recentBytesMax = 8 << 20

  package init() {}
}

/// What a hub has counted, for metrics.
package struct WatchCounts: Sendable, Equatable {
  package var streams = 0
  package var watches = 0
  /// Watches that are behind.
  package var slowWatches = 0
  /// Events sent, each counted once for each watch that it was sent to.
  package var eventsSent = 0
  /// Watches ever created.
  package var created = 0

  package init() {}
}

/// What a client asks of a new watch. The bytes are valid during the call that hands it over.
package struct WatchDemand {
  package var key: UnsafeRawBufferPointer
  package var rangeEnd: UnsafeRawBufferPointer
  package var startRevision: Int64 = 0
  package var watchID: Int64 = 0
  package var noPut = false
  package var noDelete = false
  package var previousPair = false
  package var fragment = false
  package var progressNotify = false

  package init(key: UnsafeRawBufferPointer, rangeEnd: UnsafeRawBufferPointer) {
    self.key = key
    self.rangeEnd = rangeEnd
  }
}
