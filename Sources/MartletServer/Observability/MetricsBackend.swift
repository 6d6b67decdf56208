import CoreMetrics
import Prometheus
import Synchronization

/// The process-wide backend of swift-metrics, for programs that have no other.
public enum MetricsBackend {
  static let registry = MetricsRegistry()
  private static let hasBootstrapped = Atomic<Bool>(false)

  static var isBootstrapped: Bool { hasBootstrapped.load(ordering: .acquiring) }

  /// Makes what the process's libraries measure through swift-metrics show on the /metrics of its
  /// members. Call it once, at the start, in a program that does not bootstrap `MetricsSystem` itself:
  /// that may be done only once in a process. Members do not need it for their own metrics.
  public static func bootstrap() {
    MetricsSystem.bootstrap(PrometheusFactory(registry))
    hasBootstrapped.store(true, ordering: .releasing)
  }
}
