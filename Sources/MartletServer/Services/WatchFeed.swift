import Base
import MVCC
import NIOCore
import Synchronization

/// The way of event blocks from the replica's thread to the watches of one event loop, with a bound
/// on what is under way: beyond it blocks are left out and the watches read the store instead.
final class WatchFeed: Sendable {
  private let eventLoop: any EventLoop
  private let statistics: WatchStatistics
  private let isWanted = Atomic<Bool>(false)
  private let pendingBytes = Atomic<Int>(0)
  /// A word that blocks were left out is under way.
  private let isNoticeUnderWay = Atomic<Bool>(false)

  /// Bytes of events that may be on their way to one event loop.
  static let pendingBytesMax = 32 << 20

  init(eventLoop: any EventLoop, statistics: WatchStatistics) {
    self.eventLoop = eventLoop
    self.statistics = statistics
  }

  /// Whether blocks are to come. Set it before `Store.beginWatching`, whose lock orders it before
  /// the next batch. On the event loop.
  func want(_ wanted: Bool) {
    isWanted.store(wanted, ordering: .sequentiallyConsistent)
  }

  /// Sends a block on its way to the watches of `loop`, whose feed this is. On the replica's thread.
  func post(_ block: EventBlock, to loop: RequestLoop) {
    guard isWanted.load(ordering: .sequentiallyConsistent) else { return }
    let bytes = block.block.count
    guard pendingBytes.load(ordering: .relaxed) + bytes <= Self.pendingBytesMax else {
      return postNotice(loop)
    }
    pendingBytes.add(bytes, ordering: .relaxed)
    statistics.addPendingEvents(block.count)
    eventLoop.execute {
      self.pendingBytes.subtract(bytes, ordering: .relaxed)
      self.statistics.addPendingEvents(-block.count)
      loop.watches?.deliver(block)
    }
  }

  /// Tells the watches of `loop` that they have to look into the store. On the replica's thread.
  func loseTouch(_ loop: RequestLoop) {
    guard isWanted.load(ordering: .sequentiallyConsistent) else { return }
    postNotice(loop)
  }

  private func postNotice(_ loop: RequestLoop) {
    guard !isNoticeUnderWay.exchange(true, ordering: .sequentiallyConsistent) else { return }
    eventLoop.execute {
      // Before the look at the store: what is left out from now on makes a notice of its own.
      self.isNoticeUnderWay.store(false, ordering: .sequentiallyConsistent)
      loop.watches?.loseTouch()
    }
  }
}
