import Glibc
import NIOCore
import NIOPosix

/// What a client connects to.
enum ClientTarget: Sendable, CustomStringConvertible {
  case address(RPCAddress)
  /// A server in the same process.
  case loopback(RPCServer, RPCServerLoop)

  var description: String {
    switch self {
    case .address(let address): address.description
    case .loopback: "the server itself"
    }
  }

  /// The `:authority` of calls that name none.
  var defaultAuthority: String {
    switch self {
    case .address(.host(let host, let port)): RPCAddress.host(host, port: port).description
    case .address(.unix), .loopback: "localhost"
    }
  }

  func connect(
    _ bootstrap: ClientBootstrap,
    on eventLoop: any EventLoop
  ) -> EventLoopFuture<
    any Channel
  > {
    switch self {
    case .address(.host(let host, let port)):
      bootstrap.channelOption(.tcpOption(.tcp_nodelay), value: 1)
        .connect(host: host, port: port)
    case .address(.unix(let path)):
      bootstrap.connect(unixDomainSocketPath: path)
    case .loopback(let server, let loop):
      Self.connect(bootstrap, to: server, loop)
    }
  }

  /// Over a pair of sockets that have no name, so that nobody else can come in.
  private static func connect(
    _ bootstrap: ClientBootstrap,
    to server: RPCServer,
    _ loop: RPCServerLoop
  ) -> EventLoopFuture<any Channel> {
    var pair: [Int32] = [-1, -1]
    let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    guard socketpair(AF_UNIX, type, 0, &pair) == 0 else {
      return loop.eventLoop.makeFailedFuture(IOError(errnoCode: errno, reason: "socketpair"))
    }
    let (ours, theirs) = (pair[0], pair[1])
    let attached = server.attach(connectedSocket: theirs, on: loop)
    let connected = bootstrap.withConnectedSocket(ours)
    return attached.flatMap { connected }
  }
}
