import Base
package import Proto
package import RPC
import Synchronization

/// Serves the v3 API as JSON over plain HTTP: `POST /v3/kv/put` and the rest of the routes in the
/// service tables.
///
/// Each request becomes a call of the server's own services through one of `clients`, so that it is
/// checked, ordered and counted as any other. All work on JSON is done in the request's task, never
/// on an event loop. Thread-safe.
package final class Gateway: Sendable {
  private let routes: [String: MethodDescriptor]
  private let clients: [RPCClient]
  private let next = Atomic<Int>(0)
  private let load: GatewayLoad

  /// All paths of the gateway begin so.
  package static let pathPrefix = "/v3/"

  /// `clients`, at least one, are used in turn.
  package init(
    services: [ServiceDescriptor],
    clients: [RPCClient],
    limits: GatewayLimits = GatewayLimits()
  ) {
    precondition(!clients.isEmpty)
    self.clients = clients
    load = GatewayLoad(limits)
    var routes: [String: MethodDescriptor] = [:]
    for method in services.flatMap(\.methods) {
      for route in method.jsonRoutes { routes[route] = method }
    }
    self.routes = routes
  }

  /// Every path that is served, sorted.
  package var paths: [String] { routes.keys.sorted() }

  /// Whether a request is a stream of messages, so that its answer begins before its end.
  package func answersWhileReading(method: String, path: String) -> Bool {
    method == "POST" && routes[path]?.isClientStreaming == true
  }

  /// Answers a request. The call that was made for it is taken back when the task is cancelled.
  package func respond(to request: HTTPRequest) async -> HTTPResponse {
    guard let method = routes[request.path] else { return GatewayResponse.plain(404) }
    guard request.method == "POST" else { return GatewayResponse.plain(405) }
    guard let share = load.admit(bodyBytes: request.body.count) else {
      return GatewayResponse.error(.resourceExhausted("etcdserver: too many requests"))
    }
    let options: CallOptions
    do throws(RPCStatus) {
      options = try GatewayMetadata.options(request)
    } catch {
      return GatewayResponse.error(error)
    }
    if method.isServerStreaming || method.isClientStreaming {
      return await stream(method, request, options, share)
    }
    let response = await unary(method, request, options)
    withExtendedLifetime(share) {}
    return response
  }

  private var client: RPCClient {
    let number = next.add(1, ordering: .relaxed).oldValue
    return clients[Int(UInt(bitPattern: number) % UInt(clients.count))]
  }

  private func unary(
    _ method: MethodDescriptor,
    _ request: HTTPRequest,
    _ options: CallOptions
  ) async -> HTTPResponse {
    do {
      let message = try Transcoder.message(method.request, fromJSON: request.body)
      let reply: RawMessage = try await client.unary(
        MethodPath(method.path),
        RawMessage(message),
        options: options
      )
      return GatewayResponse.message(try Transcoder.json(method.response, of: reply.bytes))
    } catch let error as Transcoder.InputError {
      return GatewayResponse.error(.invalidArgument(error.description))
    } catch {
      return GatewayResponse.error(Self.status(error))
    }
  }

  private func stream(
    _ method: MethodDescriptor,
    _ request: HTTPRequest,
    _ options: CallOptions,
    _ share: GatewayLoad.Share
  ) async -> HTTPResponse {
    var messages = GatewayRequestMessages(method.request, of: request, share)
    do {
      let first = try await messages.next()
      let path = MethodPath(method.path)
      let responses: ResponseStream<RawMessage>
      let sender: Task<Void, Never>?
      if method.isClientStreaming {
        let call: StreamingCall<RawMessage, RawMessage> = try await client.bidirectional(
          path,
          options: options
        )
        responses = call.responses
        sender = Self.send(first, then: messages, on: call)
      } else {
        responses = try await client.serverStreaming(
          path,
          RawMessage(first ?? []),
          options: options
        )
        sender = nil
      }
      let session = GatewayStream(method.response, responses, sender, share)
      return await session.response()
    } catch let error as Transcoder.InputError {
      // Of unknown status, unlike the same fault in a unary request: so etcd's gateway has it.
      let code: RPCCode = method.isClientStreaming ? .unknown : .invalidArgument
      return GatewayResponse.error(RPCStatus(code, error.description))
    } catch {
      return GatewayResponse.streamError(Self.status(error))
    }
  }

  /// Sends what the request's body holds, as fast as the service takes it. The rest of a body is
  /// given up where it is no JSON, as etcd's gateway does.
  private static func send(
    _ first: [UInt8]?,
    then rest: GatewayRequestMessages,
    on call: StreamingCall<RawMessage, RawMessage>
  ) -> Task<Void, Never> {
    Task {
      var rest = rest
      var message = first
      while let bytes = message, !Task.isCancelled {
        await call.send(RawMessage(bytes))
        message = try? await rest.next()
      }
      call.finishSending()
    }
  }

  static func status(_ error: any Error) -> RPCStatus {
    switch error {
    case let error as RPCError: error.status
    case let error as DecodeError: .internal("\(error)")
    default: RPCStatus(.unknown, "\(error)")
    }
  }
}
