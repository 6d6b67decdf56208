package import CoreMetrics

/// Makes swift-metrics' instruments in a registry: what `MetricsSystem.bootstrap` and the `factory:`
/// parameter of `Counter`, `Timer` and the others take.
///
/// Labels and dimensions may be any text; characters that Prometheus does not allow become `_`. Two
/// instruments of one label and the same dimensions write to the same cell.
package struct PrometheusFactory: MetricsFactory {
  package let registry: MetricsRegistry

  package init(_ registry: MetricsRegistry) {
    self.registry = registry
  }

  package func makeCounter(
    label: String,
    dimensions: [(String, String)]
  ) -> any CounterHandler {
    registry.counter(MetricName.metric(from: label), Self.labels(dimensions))
  }

  package func makeFloatingPointCounter(
    label: String,
    dimensions: [(String, String)]
  ) -> any FloatingPointCounterHandler {
    registry.sum(MetricName.metric(from: label), Self.labels(dimensions))
  }

  package func makeMeter(
    label: String,
    dimensions: [(String, String)]
  ) -> any MeterHandler {
    registry.gauge(MetricName.metric(from: label), Self.labels(dimensions))
  }

  /// One that aggregates is a histogram, one that does not a gauge.
  package func makeRecorder(
    label: String,
    dimensions: [(String, String)],
    aggregate: Bool
  ) -> any RecorderHandler {
    let (name, labels) = (MetricName.metric(from: label), Self.labels(dimensions))
    return aggregate ? registry.histogram(name, labels) : registry.gauge(name, labels)
  }

  package func makeTimer(
    label: String,
    dimensions: [(String, String)]
  ) -> any TimerHandler {
    registry.histogram(MetricName.metric(from: label), Self.labels(dimensions))
  }

  package func destroyCounter(_ handler: any CounterHandler) { registry.remove(handler) }

  package func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) {
    registry.remove(handler)
  }

  package func destroyMeter(_ handler: any MeterHandler) { registry.remove(handler) }
  package func destroyRecorder(_ handler: any RecorderHandler) { registry.remove(handler) }
  package func destroyTimer(_ handler: any TimerHandler) { registry.remove(handler) }

  /// The first of several dimensions of one name counts; `le` belongs to histograms.
  private static func labels(_ dimensions: [(String, String)]) -> [MetricLabel] {
    var labels: [MetricLabel] = []
    for (name, value) in dimensions {
      var name = MetricName.label(from: name)
      if name == "le" { name = "_le" }
      if !labels.contains(where: { $0.name == name }) { labels.append(MetricLabel(name, value)) }
    }
    return labels
  }
}
