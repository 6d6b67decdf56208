import CoreMetrics
import Synchronization
import Tracing

/// What a client tells the program's metrics and tracing of its calls; nothing, at no cost, where the
/// program has set up neither.
final class Telemetry: Sendable {
  /// What is counted besides calls.
  enum Event: String, CaseIterable {
    /// Endpoints that were in good standing and failed.
    case endpointFailures = "martlet_client_endpoint_failures_total"
    /// Watches that went on at another connection.
    case watchMoves = "martlet_client_watch_moves_total"
    /// Leases that were lost while a closure held them.
    case leasesLost = "martlet_client_leases_lost_total"
  }

  private let metrics: CallMetrics?
  private let tracer: (any Tracer)?

  init(_ configuration: ClientConfiguration) {
    let factory = configuration.metricsFactory ?? MetricsSystem.factory
    metrics = factory is NOOPMetricsHandler ? nil : CallMetrics(factory)
    let tracer = configuration.tracer ?? InstrumentationSystem.tracer
    self.tracer = tracer is NoOpTracer ? nil : tracer
  }

  /// A call begins; nil when nobody wants to know. The task's context is its span's parent.
  func begin(_ name: @autoclosure () -> CallName) -> CallObservation? {
    guard metrics != nil || tracer != nil else { return nil }
    return CallObservation(name(), metrics, tracer)
  }

  func count(_ event: Event) {
    metrics?.count(event)
  }
}

/// One call, its repetitions included.
final class CallObservation {
  private let name: CallName
  private let start = ContinuousClock().now
  private let metrics: CallMetrics?
  private let span: (any Span)?
  /// Carries the span to the server.
  let metadata: [(name: String, value: String)]
  private var retryCount = 0

  init(_ name: CallName, _ metrics: CallMetrics?, _ tracer: (any Tracer)?) {
    self.name = name
    self.metrics = metrics
    guard let tracer else {
      span = nil
      metadata = []
      return
    }
    let span: any Span = tracer.startSpan(name.text, ofKind: .client)
    span.updateAttributes { attributes in
      attributes["rpc.system"] = "grpc"
      attributes["rpc.service"] = name.service
      attributes["rpc.method"] = name.method
    }
    var carrier: [(name: String, value: String)] = []
    tracer.inject(span.context, into: &carrier, using: MetadataInjector())
    metadata = carrier
    self.span = span
  }

  private struct MetadataInjector: Injector {
    func inject(
      _ value: String,
      forKey key: String,
      into carrier: inout [(name: String, value: String)]
    ) {
      carrier.append((name: key.lowercased(), value: value))
    }
  }

  /// An attempt failed, and another follows.
  func retried(_ failure: ClientError) {
    retryCount += 1
    metrics?.retried(name)
    guard let span else { return }
    var event = SpanEvent(name: "retry")
    event.attributes["error.type"] = failure.code.rawValue
    if let endpoint = failure.endpoint { event.attributes["server.address"] = endpoint }
    span.addEvent(event)
  }

  /// The call ended; nil well.
  func end(_ failure: ClientError?) {
    metrics?.ended(name, failure?.code, after: start.duration(to: ContinuousClock().now))
    guard let span else { return }
    span.updateAttributes { attributes in
      attributes["rpc.grpc.status_code"] = Int64(failure.map { $0.grpcStatus ?? 2 } ?? 0)
      if retryCount > 0 { attributes["martlet.retries"] = Int64(retryCount) }
      guard let failure else { return }
      attributes["error.type"] = failure.code.rawValue
      attributes["martlet.outcome"] = "\(failure.outcome)"
      if let endpoint = failure.endpoint { attributes["server.address"] = endpoint }
    }
    if let failure {
      span.setStatus(SpanStatus(code: .error, message: failure.message))
    }
    span.end()
  }
}
