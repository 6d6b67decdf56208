import NIOCore
import Synchronization

/// Says that connections cannot be taken and why: the first time, and once a minute as long as it goes on.
package final class RefusalReport: Sendable {
  private static let interval = TimeAmount.minutes(1)

  private let quietUntil = Mutex(NIODeadline.uptimeNanoseconds(0))
  private let say: @Sendable (_ reason: String) -> Void

  package init(_ say: @escaping @Sendable (_ reason: String) -> Void) {
    self.say = say
  }

  package func note(_ reason: @autoclosure () -> String) {
    let now = NIODeadline.now()
    let isDue = quietUntil.withLock { quietUntil in
      guard now >= quietUntil else { return false }
      quietUntil = now + Self.interval
      return true
    }
    if isDue { say(reason()) }
  }
}
