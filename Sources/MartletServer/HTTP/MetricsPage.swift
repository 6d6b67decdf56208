import Prometheus

/// The text of /metrics: what a member measures and knows, what the process tells of itself, and what
/// libraries of the process measure when swift-metrics was bootstrapped by `MetricsBackend`.
struct MetricsPage: Sendable {
  let registry: MetricsRegistry
  let collector: MemberCollector

  func text() async -> String {
    // The member's come first: its names are not for others to take.
    var families = await registry.gather()
    families += await collector.families()
    families += ProcessMetrics.families()
    if MetricsBackend.isBootstrapped { families += await MetricsBackend.registry.gather() }
    return Exposition.text(families)
  }
}
