/// How long entries took to apply, for metrics and warnings. Nothing that is replicated depends on it.
///
/// Puts that follow each other are measured together: a look at the clock for each would cost a
/// few hundredths of what applying one does. Confined to the replica's thread.
package final class ApplyMeter {
  /// Entries of one kind and outcome that were applied one after the other.
  package struct Run {
    package let operation: ReplicatedOperation
    package let isSuccess: Bool
    package let count: UInt64
    /// For all of them together.
    package let nanoseconds: UInt64
  }

  /// The most puts in a run; other entries are measured each by itself.
  package static let runCountMax: UInt64 = 16

  private let clock: () -> UInt64
  private let report: (Run) -> Void
  private var runStart: UInt64 = 0
  private var operation: ReplicatedOperation?
  private var isSuccess = true
  private var count: UInt64 = 0

  /// `clock` tells nanoseconds that never go back; `report` hears of each run at its end.
  package init(clock: @escaping () -> UInt64, report: @escaping (Run) -> Void) {
    self.clock = clock
    self.report = report
  }

  /// An entry is about to be applied.
  func willApply(_ next: ReplicatedOperation) {
    if next == .put && operation == .put && count < Self.runCountMax { return }
    let now = endRun() ?? clock()
    runStart = now
    operation = next
    count = 0
  }

  /// The entry of the last `willApply` was applied.
  func didApply(isSuccess isSuccessNow: Bool) {
    guard let operation else { return }
    if count > 0 && isSuccessNow != isSuccess {
      // What this entry took counts with the run that it ends: less than clocks can tell, for a put.
      runStart = endRun() ?? clock()
      self.operation = operation
    }
    isSuccess = isSuccessNow
    count += 1
  }

  /// No more entries for now.
  func pause() {
    _ = endRun()
  }

  /// Reports the run and returns the time of its end; nil when there was none.
  private func endRun() -> UInt64? {
    guard let operation, count > 0 else { return nil }
    let now = clock()
    report(
      Run(
        operation: operation,
        isSuccess: isSuccess,
        count: count,
        nanoseconds: now > runStart ? now - runStart : 0
      )
    )
    count = 0
    self.operation = nil
    return now
  }
}
