import Dispatch
import Glibc
import Synchronization

/// SIGTERM and SIGINT. The first one asks for an orderly end; the next one ends the process at
/// once, and so does the first while there is nothing to drain yet.
final class ShutdownSignals: Sendable {
  /// What a shell adds to the number of the signal that ended a process.
  private static let exitCodeOfSignal: Int32 = 128

  private let isDraining = Atomic<Bool>(false)
  private let hasSignal = Atomic<Bool>(false)
  private let stream: AsyncStream<Int32>
  private let continuation: AsyncStream<Int32>.Continuation
  /// Kept alive; written by `init` only.
  private nonisolated(unsafe) var sources: [any DispatchSourceSignal] = []

  init() {
    (stream, continuation) = AsyncStream.makeStream(of: Int32.self)
    let queue = DispatchQueue(label: "martlet.signals")
    for number in [SIGTERM, SIGINT] {
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
      source.setEventHandler { [unowned self] in received(number) }
      source.resume()
      sources.append(source)
    }
  }

  private func received(_ number: Int32) {
    // Before it serves, a member has nothing to drain, and its files bear being left like this.
    guard isDraining.load(ordering: .acquiring) else { _exit(0) }
    if hasSignal.exchange(true, ordering: .relaxed) { _exit(Self.exitCodeOfSignal + number) }
    continuation.yield(number)
  }

  /// From now on a first signal waits for `first()` to return it.
  func beginDraining() {
    isDraining.store(true, ordering: .releasing)
  }

  /// The first signal; nothing when the task is cancelled before.
  func first() async -> Int32? {
    for await number in stream { return number }
    return nil
  }
}
