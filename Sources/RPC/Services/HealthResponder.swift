import Base
import NIOCore
package import Proto
import Synchronization

/// What `grpc.health.v1.Health` tells of the server and its services; shared by all event loops.
///
/// Thread-safe. A watch hears of a change on its own event loop, soon after `set` returns.
package final class HealthStatus: Sendable {
  package typealias Status = GrpcHealthV1.HealthCheckResponse.ServingStatus

  private struct State {
    var statuses: [String: Status] = [:]
    var listeners: [HealthResponder] = []
  }

  private let state = Mutex(State())

  /// A server that serves, and knows no services by name.
  package init() {
    set(.serving)
  }

  /// Sets the status of a service; `""` is the server as a whole.
  package func set(_ status: Status, service: String = "") {
    let listeners = state.withLock { state in
      state.statuses[service] = status
      return state.listeners
    }
    for listener in listeners {
      listener.loop.eventLoop.execute { listener.changed(service, status) }
    }
  }

  /// Sets the status of everything that has one.
  package func setAll(_ status: Status) {
    let services = state.withLock { Array($0.statuses.keys) }
    for service in services { set(status, service: service) }
  }

  /// The status of a service; nil when it is not known.
  package func status(of service: String) -> Status? {
    state.withLock { $0.statuses[service] }
  }

  func add(_ listener: HealthResponder) {
    state.withLock { $0.listeners.append(listener) }
  }
}

/// Answers `grpc.health.v1.Health` on one event loop.
package final class HealthResponder: HealthService, @unchecked Sendable {
  // Sendable so that a change can find its way here; calls are touched on the loop only.

  let loop: RPCServerLoop
  private let health: HealthStatus
  private var watches: [CallID: String] = [:]

  private init(_ loop: RPCServerLoop, _ health: HealthStatus) {
    self.loop = loop
    self.health = health
  }

  /// Registers the service with a loop; on that loop.
  package static func register(on loop: RPCServerLoop, _ health: HealthStatus) {
    let service = HealthResponder(loop, health)
    health.add(service)
    loop.register(HealthDispatcher(service))
  }

  package func check(
    _ request: IncomingMessage<GrpcHealthV1.HealthCheckRequest.View>,
    _ call: ServerCall
  ) {
    guard let status = health.status(of: String(request.view.service)) else {
      call.finish(.notFound("unknown service"))
      return
    }
    call.respond { Self.write(status, to: &$0) }
  }

  package func watch(
    _ request: IncomingMessage<GrpcHealthV1.HealthCheckRequest.View>,
    _ call: ServerCall
  ) {
    let service = String(request.view.service)
    watches[call.id] = service
    let status = health.status(of: service) ?? .serviceUnknown
    call.send { Self.write(status, to: &$0) }
  }

  package func callCancelled(_ call: ServerCall) {
    watches[call.id] = nil
  }

  func changed(_ service: String, _ status: HealthStatus.Status) {
    for (id, watched) in watches where watched == service {
      loop.call(id)?.send { Self.write(status, to: &$0) }
    }
  }

  private static func write(_ status: HealthStatus.Status, to writer: inout ByteWriter) {
    GrpcHealthV1.HealthCheckResponse(status: status).encode(into: &writer)
  }
}
