import Synchronization

/// Bounds the bytes of large answers that were made and not sent yet, over all connections: clients
/// that ask for much and read slowly must not fill the memory. Beyond the bound reads are refused
/// at once.
final class ResponseBudget: Sendable {
  private let bytesHeld = Atomic<Int>(0)
  private let bytesMax: Int

  init(bytesMax: Int) {
    self.bytesMax = bytesMax
  }

  /// Whether another answer may be made. One always may when none is held.
  var isOpen: Bool { bytesHeld.load(ordering: .relaxed) < bytesMax }

  /// The bytes held now.
  var bytes: Int { bytesHeld.load(ordering: .relaxed) }

  /// Counts an answer until the hold, which goes with the answer's bytes, is gone.
  func hold(_ bytes: Int) -> Hold {
    bytesHeld.wrappingAdd(bytes, ordering: .relaxed)
    return Hold(self, bytes)
  }

  final class Hold: Sendable {
    private let budget: ResponseBudget
    private let bytes: Int

    fileprivate init(_ budget: ResponseBudget, _ bytes: Int) {
      self.budget = budget
      self.bytes = bytes
    }

    deinit {
      budget.bytesHeld.wrappingSubtract(bytes, ordering: .relaxed)
    }
  }
}
