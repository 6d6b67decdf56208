import JSONGateway
import Proto
import RPC
import Synchronization

/// What the client addresses answer over plain HTTP: the JSON gateway below `/v3/`, once it is
/// there, and the endpoints for operators. Thread-safe.
final class ClientPort: HTTPHandler {
  private let endpoints: OperatorEndpoints
  private let gateway = Mutex<Gateway?>(nil)

  init(_ endpoints: OperatorEndpoints) {
    self.endpoints = endpoints
  }

  /// The services that have JSON routes.
  static let services: [ServiceDescriptor] = [
    .kv, .watch, .lease, .cluster, .maintenance, .auth, .lock, .election,
  ]

  /// Begins to serve JSON.
  func serve(_ gateway: Gateway) {
    self.gateway.withLock { $0 = gateway }
  }

  func answersWhileReading(method: String, path: String) -> Bool {
    guard path.hasPrefix(Gateway.pathPrefix) else { return false }
    return gateway.withLock { $0 }?.answersWhileReading(method: method, path: path) ?? false
  }

  func respond(to request: HTTPRequest) async -> HTTPResponse {
    if request.path.hasPrefix(Gateway.pathPrefix), let gateway = gateway.withLock({ $0 }) {
      return await gateway.respond(to: request)
    }
    return await endpoints.respond(to: request)
  }
}
