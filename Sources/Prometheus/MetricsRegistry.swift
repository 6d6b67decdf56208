import Synchronization

/// The metrics of one member, or of the process: cells that code writes to, and collectors that are
/// asked when somebody reads. Any thread may use it.
///
/// Collectors are for what is counted anyway, in plain integers where it happens: they cost nothing
/// until a scrape.
package final class MetricsRegistry: Sendable {
  package typealias Collector = @Sendable () async -> [MetricFamily]

  /// The most sets of labels that one metric may have. Beyond, all share one cell, whose only label is
  /// `overflow="true"`: labels that come from outside must not grow memory without end.
  package static let cellsPerMetricMax = 1000
  /// The most metrics. Beyond, new ones count but are not shown.
  package static let metricsMax = 2000

  private struct Metric {
    var definition: MetricDefinition
    var cells: [[MetricLabel]: Cell] = [:]
  }

  private enum Cell {
    case counter(CounterCell)
    case sum(SumCell)
    case gauge(GaugeCell)
    case histogram(HistogramCell)

    var object: AnyObject {
      switch self {
      case .counter(let cell): cell
      case .sum(let cell): cell
      case .gauge(let cell): cell
      case .histogram(let cell): cell
      }
    }

    var value: MetricSample.Value {
      switch self {
      case .counter(let cell): .number(Double(cell.value))
      case .sum(let cell): .number(cell.value)
      case .gauge(let cell): .number(cell.value)
      case .histogram(let cell): .histogram(cell.snapshot)
      }
    }
  }

  private struct State {
    var metrics: [String: Metric] = [:]
    var collectors: [Collector] = []
  }

  private let state = Mutex(State())

  package init() {}

  /// Says what metrics are, before they are measured: their help, type and bounds. A name that is
  /// known already keeps what it has.
  package func define(_ definitions: [MetricDefinition]) {
    state.withLock { state in
      for definition in definitions where state.metrics[definition.name] == nil {
        state.metrics[definition.name] = Metric(definition: definition)
      }
    }
  }

  /// Adds what is asked at each scrape, one after the other.
  package func addCollector(_ collector: @escaping Collector) {
    state.withLock { $0.collectors.append(collector) }
  }

  package func counter(_ name: String, _ labels: [MetricLabel] = []) -> CounterCell {
    let found = cell(MetricDefinition(name, .counter, ""), labels) { _ in .counter(CounterCell()) }
    guard case .counter(let cell) = found else { return CounterCell() }
    return cell
  }

  package func sum(_ name: String, _ labels: [MetricLabel] = []) -> SumCell {
    let found = cell(MetricDefinition(name, .counter, ""), labels) { _ in .sum(SumCell()) }
    guard case .sum(let cell) = found else { return SumCell() }
    return cell
  }

  package func gauge(_ name: String, _ labels: [MetricLabel] = []) -> GaugeCell {
    let found = cell(MetricDefinition(name, .gauge, ""), labels) { _ in .gauge(GaugeCell()) }
    guard case .gauge(let cell) = found else { return GaugeCell() }
    return cell
  }

  /// `bounds` count unless the metric was defined with its own.
  package func histogram(
    _ name: String,
    _ labels: [MetricLabel] = [],
    bounds: [Double] = HistogramCell.secondsBounds
  ) -> HistogramCell {
    let definition = MetricDefinition(name, .histogram, "", bounds: bounds)
    let found = cell(definition, labels) { .histogram(HistogramCell(bounds: $0.bounds)) }
    guard case .histogram(let cell) = found else { return HistogramCell(bounds: bounds) }
    return cell
  }

  /// The cell for a name and labels: the one that is there, else a new one. A name that is taken by
  /// another type gets a cell that counts but is not shown.
  private func cell(
    _ definition: MetricDefinition,
    _ labels: [MetricLabel],
    _ make: (MetricDefinition) -> Cell
  ) -> Cell {
    var key = labels.sorted()
    return state.withLock { state in
      var metric = state.metrics[definition.name] ?? Metric(definition: definition)
      guard metric.definition.kind == definition.kind else { return make(definition) }
      if let cell = metric.cells[key] { return cell }
      if metric.cells.count >= Self.cellsPerMetricMax {
        key = [MetricLabel("overflow", "true")]
        if let cell = metric.cells[key] { return cell }
      }
      let cell = make(metric.definition)
      metric.cells[key] = cell
      if state.metrics[definition.name] != nil || state.metrics.count < Self.metricsMax {
        state.metrics[definition.name] = metric
      }
      return cell
    }
  }

  /// Forgets a cell: it is shown no more, and the next one of its name and labels starts anew.
  package func remove(_ cell: AnyObject) {
    state.withLock { state in
      for (name, metric) in state.metrics {
        guard let key = metric.cells.first(where: { $0.value.object === cell })?.key else {
          continue
        }
        state.metrics[name]?.cells[key] = nil
        return
      }
    }
  }

  /// What there is now, cells before collectors. Metrics that were defined and never written to
  /// have no samples.
  package func gather() async -> [MetricFamily] {
    let (metrics, collectors) = state.withLock { ($0.metrics, $0.collectors) }
    var families = metrics.values.map { metric in
      MetricFamily(
        metric.definition,
        metric.cells.sorted { $0.key.lexicographicallyPrecedes($1.key) }
          .map { MetricSample($0.value.value, $0.key) }
      )
    }
    for collector in collectors { families += await collector() }
    return families
  }
}
