import CoreMetrics
import Synchronization

/// The figures of a client's calls.
///
/// - `martlet_client_calls_total{method, code}`: calls by what they ended with, `ok` or the name of a
///   `ClientError.Code`. A stream counts when its first message has come.
/// - `martlet_client_call_duration{method}`: how long calls took, in nanoseconds, repetitions included.
/// - `martlet_client_retries_total{method}`: attempts after the first.
/// - `Telemetry.Event` has the others.
final class CallMetrics: Sendable {
  private struct Outcome: Hashable {
    let name: CallName
    /// nil: it went well.
    let code: ClientError.Code?
  }

  private struct Instruments {
    var calls: [Outcome: Counter] = [:]
    var durations: [CallName: Timer] = [:]
    var retries: [CallName: Counter] = [:]
    var events: [Telemetry.Event: Counter] = [:]
  }

  private let factory: any MetricsFactory
  private let instruments = Mutex(Instruments())

  init(_ factory: any MetricsFactory) {
    self.factory = factory
  }

  func ended(_ name: CallName, _ code: ClientError.Code?, after duration: Duration) {
    let (calls, timer) = instruments.withLock { instruments in
      let outcome = Outcome(name: name, code: code)
      let calls =
        instruments.calls[outcome]
        ?? Counter(
          label: "martlet_client_calls_total",
          dimensions: [("method", name.text), ("code", code?.rawValue ?? "ok")],
          factory: factory
        )
      instruments.calls[outcome] = calls
      let timer =
        instruments.durations[name]
        ?? Timer(
          label: "martlet_client_call_duration",
          dimensions: [("method", name.text)],
          factory: factory
        )
      instruments.durations[name] = timer
      return (calls, timer)
    }
    calls.increment()
    timer.recordNanoseconds(duration.nanoseconds)
  }

  func retried(_ name: CallName) {
    let counter = instruments.withLock { instruments in
      let counter =
        instruments.retries[name]
        ?? Counter(
          label: "martlet_client_retries_total",
          dimensions: [("method", name.text)],
          factory: factory
        )
      instruments.retries[name] = counter
      return counter
    }
    counter.increment()
  }

  func count(_ event: Telemetry.Event) {
    let counter = instruments.withLock { instruments in
      let counter = instruments.events[event] ?? Counter(label: event.rawValue, factory: factory)
      instruments.events[event] = counter
      return counter
    }
    counter.increment()
  }
}
