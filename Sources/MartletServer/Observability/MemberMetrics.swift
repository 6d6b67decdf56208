import CoreMetrics
import Prometheus

/// What a member measures where it happens, by swift-metrics' instruments in a registry of the member's
/// own: a program that embeds it may have bootstrapped swift-metrics for itself, and two members
/// of one process do not mix. What is counted anyway is asked for at a scrape (`MemberCollector`).
///
/// Any thread may use the instruments.
final class MemberMetrics: Sendable {
  let registry: MetricsRegistry

  let logSyncs: Timer
  let logWrites: Timer
  let logBytesWritten: Meter
  let commits: Timer
  let defragments: Timer
  let defragmentsInFlight: Meter
  let snapshots: Timer
  let hashes: Timer
  let revisionHashes: Timer
  let compactionPauses: Recorder
  let indexCompactionPauses: Recorder
  let compactions: Recorder
  let lastCompaction: Gauge
  let healthSuccesses: Counter
  let healthFailures: Counter
  let slowApplies: Counter
  let readIndexesFailed: Counter
  let readIndexesSlow: Counter
  /// What only members of a cluster of several do. In a cluster of one they stay at 0.
  let heartbeatSendFailures: Counter
  let learnerPromotions: Counter
  let snapshotsBeingApplied: Meter

  init() {
    let registry = MetricsRegistry()
    registry.define(MetricCatalog.instruments)
    self.registry = registry
    let make = InstrumentMaker(factory: PrometheusFactory(registry))
    logSyncs = make.timer(MetricCatalog.logSyncDuration)
    logWrites = make.timer(MetricCatalog.logWriteDuration)
    logBytesWritten = make.meter(MetricCatalog.logBytesWritten)
    commits = make.timer(MetricCatalog.commitDuration)
    defragments = make.timer(MetricCatalog.defragmentDuration)
    defragmentsInFlight = make.meter(MetricCatalog.defragmentsInFlight)
    snapshots = make.timer(MetricCatalog.snapshotDuration)
    hashes = make.timer(MetricCatalog.hashDuration)
    revisionHashes = make.timer(MetricCatalog.revisionHashDuration)
    compactionPauses = make.recorder(MetricCatalog.compactionPause)
    indexCompactionPauses = make.recorder(MetricCatalog.indexCompactionPause)
    compactions = make.recorder(MetricCatalog.compactionDuration)
    lastCompaction = make.gauge(MetricCatalog.lastCompaction)
    healthSuccesses = make.counter(MetricCatalog.healthSuccesses)
    healthFailures = make.counter(MetricCatalog.healthFailures)
    slowApplies = make.counter(MetricCatalog.slowApplies)
    readIndexesFailed = make.counter(MetricCatalog.readIndexesFailed)
    readIndexesSlow = make.counter(MetricCatalog.readIndexesSlow)
    heartbeatSendFailures = make.counter(MetricCatalog.heartbeatSendFailures)
    learnerPromotions = make.counter(MetricCatalog.learnerPromotions)
    snapshotsBeingApplied = make.meter(MetricCatalog.snapshotsBeingApplied)
  }

  func note(_ note: ReplicaThread.Note) {
    switch note {
    case .lateHeartbeats: heartbeatSendFailures.increment()
    case .snapshotTaken: snapshotsBeingApplied.set(1)
    case .snapshotInstalled: snapshotsBeingApplied.set(0)
    case .learnerPromoted: learnerPromotions.increment()
    }
  }

  /// Notes that a defragmentation runs, and how long it took.
  func measureDefragment<Failure: Error>(
    _ body: () throws(Failure) -> Void
  ) throws(Failure) {
    defragmentsInFlight.increment()
    defer { defragmentsInFlight.decrement() }
    try Self.measure(defragments, body)
  }

  /// Notes in `timer` how long `body` takes.
  static func measure<Result, Failure: Error>(
    _ timer: Timer,
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let start = MonotonicTime.now
    let result = try body()
    timer.recordNanoseconds(since: start)
    return result
  }
}

/// Makes instruments of the definitions that a registry has.
private struct InstrumentMaker {
  let factory: PrometheusFactory

  func timer(_ definition: MetricDefinition) -> Timer {
    Timer(label: definition.name, factory: factory)
  }

  func meter(_ definition: MetricDefinition) -> Meter {
    Meter(label: definition.name, factory: factory)
  }

  func counter(_ definition: MetricDefinition) -> Counter {
    Counter(label: definition.name, factory: factory)
  }

  func gauge(_ definition: MetricDefinition) -> Gauge {
    Gauge(label: definition.name, factory: factory)
  }

  func recorder(_ definition: MetricDefinition) -> Recorder {
    Recorder(label: definition.name, aggregate: true, factory: factory)
  }
}

extension Timer {
  func recordNanoseconds(since start: MonotonicTime) {
    recordNanoseconds(Int64(clamping: MonotonicTime.now.nanoseconds(since: start)))
  }
}

extension Recorder {
  func recordMilliseconds(since start: MonotonicTime) {
    record(Double(MonotonicTime.now.nanoseconds(since: start)) / 1e6)
  }
}
