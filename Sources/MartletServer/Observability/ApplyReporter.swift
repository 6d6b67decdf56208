import CoreMetrics
import Flags
import Logging
import Prometheus
import Replica

/// Takes what an `ApplyMeter` measures to the metrics, and what took long to the log. Confined to the
/// replica's thread.
final class ApplyReporter {
  static let linesBurst = 20
  static let linesPerSecond = 5

  private struct Kind: Hashable {
    var operation: ReplicatedOperation
    var isSuccess: Bool
  }

  private let metrics: MemberMetrics
  private let logger: Logger
  private let warningNanoseconds: UInt64
  private let rate = LogRate(burst: linesBurst, perSecond: linesPerSecond)
  private var cells: [Kind: HistogramCell] = [:]

  init(metrics: MemberMetrics, logger: Logger, warningNanoseconds: UInt64) {
    self.metrics = metrics
    self.logger = logger
    self.warningNanoseconds = warningNanoseconds
  }

  /// A meter that reports here.
  func makeMeter() -> ApplyMeter {
    ApplyMeter(clock: { MonotonicTime.now.nanoseconds }, report: note)
  }

  private func note(_ run: ApplyMeter.Run) {
    let kind = Kind(operation: run.operation, isSuccess: run.isSuccess)
    let cell = cells[kind] ?? makeCell(kind)
    cell.observe(Double(run.nanoseconds) / 1e9 / Double(run.count), count: run.count)
    if run.nanoseconds > warningNanoseconds { warn(run) }
  }

  private func makeCell(_ kind: Kind) -> HistogramCell {
    let cell = metrics.registry.histogram(
      MetricCatalog.applyDuration.name,
      [
        MetricLabel("version", "v3"), MetricLabel("op", kind.operation.metricName),
        MetricLabel("success", kind.isSuccess ? "true" : "false"),
      ]
    )
    cells[kind] = cell
    return cell
  }

  private func warn(_ run: ApplyMeter.Run) {
    metrics.slowApplies.increment()
    guard let leftOut = rate.admit() else { return }
    var fields: Logger.Metadata = [
      "operation": .string(run.operation.metricName),
      "entries": .stringConvertible(run.count),
      "took": .string(GoDuration.text(.nanoseconds(Int64(clamping: run.nanoseconds)))),
      "expected": .string(GoDuration.text(.nanoseconds(Int64(clamping: warningNanoseconds)))),
    ]
    if leftOut > 0 { fields["left out before"] = .stringConvertible(leftOut) }
    logger.warning("applying took long", metadata: fields)
  }
}

extension ReplicatedOperation {
  /// As etcd's metrics name it.
  var metricName: String {
    // The cases are spelled as the messages are, but for the first letter.
    let name = "\(self)"
    return name.prefix(1).uppercased() + name.dropFirst()
  }
}
