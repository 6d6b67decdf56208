import Glibc
import Synchronization

/// A signal that ended the work.
struct Interrupted: Error {
  let signal: Int32
}

/// SIGINT and SIGTERM during work that leaves files behind when it is cut off: the first one makes the
/// next report of progress throw, the second one ends the process at once.
enum Interruption {
  private static let received = Atomic<Int32>(0)
  private static let isWatched = Atomic<Bool>(false)
  private static let signals = [SIGINT, SIGTERM]

  /// Throws `Interrupted` when a signal came since the first call.
  static func check() throws(Interrupted) {
    if !isWatched.exchange(true, ordering: .relaxed) {
      for number in signals { signal(number) { Interruption.note($0) } }
    }
    let number = received.load(ordering: .relaxed)
    if number != 0 { throw Interrupted(signal: number) }
  }

  /// Leaves signals to the system again.
  static func end() {
    guard isWatched.exchange(false, ordering: .relaxed) else { return }
    for number in signals { signal(number, SIG_DFL) }
  }

  /// Ends the process as the signal would have.
  static func die(of interrupted: Interrupted) -> Never {
    signal(interrupted.signal, SIG_DFL)
    raise(interrupted.signal)
    exit(128 + interrupted.signal)
  }

  /// In the signal's handler.
  private static func note(_ number: Int32) {
    received.store(number, ordering: .relaxed)
    signal(number, SIG_DFL)
  }
}
