import NIOCore
import NIOPosix
import RPC

/// A server on a port of its own, with what a test needs to talk to it.
struct Fixture: Sendable {
  let server: RPCServer
  let port: Int
  let log: EventLog
  let client: RPCClient

  var address: RPCAddress { .host("127.0.0.1", port: port) }

  func makeClient(_ configuration: RPCClientConfiguration = RPCClientConfiguration()) -> RPCClient {
    RPCClient(
      address: address,
      group: MultiThreadedEventLoopGroup.singleton,
      configuration: configuration
    )
  }

  func makeRaw() async throws -> RawClient {
    try await RawClient.connect(port: port)
  }
}

/// Registers further services with each loop.
typealias SetUp = @Sendable (RPCServerLoop, EchoService) -> Void

/// Runs `body` with a server that has the echo service, health and reflection.
func withServer(
  _ configuration: RPCServerConfiguration = RPCServerConfiguration(),
  httpHandler: (any HTTPHandler)? = nil,
  health: HealthStatus = HealthStatus(),
  setUp: SetUp? = nil,
  _ body: (Fixture) async throws -> Void
) async throws {
  let log = EventLog()
  let server = RPCServer(
    group: MultiThreadedEventLoopGroup.singleton,
    configuration: configuration,
    httpHandler: httpHandler
  )
  try await server.start { loop in
    let service = EchoService(log)
    loop.register(EchoDispatcher(service: service))
    HealthResponder.register(on: loop, health)
    Reflection.register(on: loop)
    setUp?(loop, service)
  }
  let address = try await server.listen(on: .host("127.0.0.1", port: 0))
  let port = address?.port ?? 0
  let client = RPCClient(
    address: .host("127.0.0.1", port: port),
    group: MultiThreadedEventLoopGroup.singleton
  )
  let fixture = Fixture(server: server, port: port, log: log, client: client)
  do {
    try await body(fixture)
  } catch {
    await client.shutdown()
    await server.drain(timeout: .milliseconds(1))
    throw error
  }
  await client.shutdown()
  await server.drain(timeout: .milliseconds(1))
}
