import Synchronization

/// A number that several tasks count up.
final class Counter: Sendable {
  private let value = Atomic<Int>(0)

  var count: Int { value.load(ordering: .relaxed) }

  /// Returns what it was before.
  @discardableResult
  func add(_ count: Int) -> Int { value.add(count, ordering: .relaxed).oldValue }
}
