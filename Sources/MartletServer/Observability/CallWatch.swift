import Logging
import RPC
import Tracing

/// What the configuration asks to be done with calls that end; makes it for each event loop.
struct CallWatch: Sendable {
  let slowCallNanoseconds: UInt64
  let slowRequests: SlowRequestLog
  let measuresLatency: Bool
  /// None when tracing is off or nobody has bootstrapped a tracer.
  let tracer: (any Tracer)?

  init(_ configuration: ServerConfiguration, logger: Logger) {
    slowCallNanoseconds = configuration.warningUnaryRequestDuration.wholeNanoseconds
    slowRequests = SlowRequestLog(logger: logger)
    measuresLatency = configuration.metrics == "extensive"
    tracer = configuration.enableDistributedTracing ? Self.bootstrappedTracer(logger) : nil
  }

  /// The process's tracer; the log says when there is none.
  private static func bootstrappedTracer(_ logger: Logger) -> (any Tracer)? {
    let tracer = InstrumentationSystem.tracer
    guard tracer is NoOpTracer else { return tracer }
    logger.warning(
      """
      --enable-distributed-tracing has no effect: no tracer is bootstrapped. This program has no \
      exporter of its own; one that embeds a member bootstraps InstrumentationSystem first
      """
    )
    return nil
  }

  func observation() -> CallObservation {
    var observation = CallObservation()
    observation.slowCallNanoseconds = slowCallNanoseconds
    observation.onSlowCall = { [slowRequests] in slowRequests.note($0) }
    observation.measuresLatency = measuresLatency
    observation.tracer = tracer.map { RequestTracer($0) }
    return observation
  }
}
