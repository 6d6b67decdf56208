import Synchronization

/// Bounds the bytes of proposals that wait for the replica's thread: beyond the bound a request
/// is refused at once, rather than a queue grown.
final class AdmissionGate: Sendable {
  private let bytesWaiting = Atomic<Int>(0)
  private let bytesMax: Int

  init(bytesMax: Int) {
    self.bytesMax = bytesMax
  }

  /// Whether there is room for another request. One request always fits when none waits.
  var isOpen: Bool { bytesWaiting.load(ordering: .relaxed) < bytesMax }

  /// A batch was posted.
  func entered(_ bytes: Int) {
    bytesWaiting.wrappingAdd(bytes, ordering: .relaxed)
  }

  /// The replica has taken a batch.
  func left(_ bytes: Int) {
    bytesWaiting.wrappingSubtract(bytes, ordering: .relaxed)
  }
}
