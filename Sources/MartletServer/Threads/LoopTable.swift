import Base
import MVCC
import NIOCore
import Replica
import Synchronization

/// The request loops of a member by number, for the threads that bring answers to them.
final class LoopTable: Sendable {
  private let loops = Mutex<[RequestLoop]>([])

  /// Called once, before any request comes in.
  func install(_ new: [RequestLoop]) {
    loops.withLock { $0 = new }
  }

  /// Answers that still come are dropped from now on.
  func removeAll() {
    loops.withLock { $0 = [] }
  }

  var all: [RequestLoop] { loops.withLock { $0 } }

  /// Hands a block of answers to its event loop.
  func deliver(_ answers: ByteBlock, to number: Int) {
    guard let loop = loops.withLock({ number < $0.count ? $0[number] : nil }) else { return }
    loop.eventLoop.execute { loop.deliver(answers) }
  }

  /// Brings a block of events to the watches of all loops.
  func deliver(_ events: EventBlock) {
    for loop in all { loop.watchFeed.post(events, to: loop) }
  }

  /// Tells the watches of all loops that events were left out.
  func loseTouch() {
    for loop in all { loop.watchFeed.loseTouch(loop) }
  }

  /// Has all event loops end the streams that do not end by themselves.
  func endWatches() {
    for loop in all { loop.eventLoop.execute { loop.watches?.endAll() } }
  }

  /// Tells the event loops what became of proposals without an answer.
  func deliver(notDone: [ProposalBlockName], unknown: [ProposalBlockName]) {
    for (names, isNotDone) in [(unknown, false), (notDone, true)] {
      for name in names {
        guard let loop = loops.withLock({ name.loop < $0.count ? $0[name.loop] : nil }) else {
          continue
        }
        loop.eventLoop.execute {
          if isNotDone {
            loop.proposalsNotDone(through: name.sequence)
          } else {
            loop.proposalsUnknown(through: name.sequence)
          }
        }
      }
    }
  }

  /// Tells the event loops which rounds of reads may be served and which were lost.
  func deliver(ready: [UInt64], lost: [UInt64]) {
    for (contexts, isReady) in [(ready, true), (lost, false)] {
      for context in contexts {
        let number = ReadQueue.loop(of: context)
        guard let loop = loops.withLock({ number < $0.count ? $0[number] : nil }) else { continue }
        loop.eventLoop.execute {
          if isReady { loop.readReady(context) } else { loop.readLost(context) }
        }
      }
    }
  }
}
