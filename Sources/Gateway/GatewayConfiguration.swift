package import NIOCore
import Sockets

/// What a gateway does, and its bounds.
package struct GatewayConfiguration: Sendable {
  /// At least one.
  package var endpoints: [GatewayEndpoint]
  /// A name or an address; empty: all addresses of the machine.
  package var listenHost: String
  /// 0 lets the system choose.
  package var listenPort: Int
  /// How long an endpoint that failed is left alone before it is looked at again.
  package var retryDelay = TimeAmount.minutes(1)
  /// How long an endpoint may take to accept a connection before the next one is tried.
  package var connectTimeout = TimeAmount.seconds(5)
  /// How long connections may go on when the gateway is to end.
  package var drainTimeout = TimeAmount.seconds(5)
  /// How long what is left of one direction may take to be written once the other end is gone.
  package var lingerTimeout = TimeAmount.seconds(30)
  /// The most that one read takes from a socket.
  package var readBytesMax = 128 << 10
  /// A socket with so many bytes waiting stops the reads from the other side ...
  package var bufferedBytesHigh = 256 << 10
  /// ... until no more than this is left.
  package var bufferedBytesLow = 64 << 10
  /// The most connections at a time; more are closed as they come. Each takes two files.
  package var connectionsMax = min(65_536, max(1, (OpenFiles.limit - Self.ownFiles) / 2))
  /// The socket's queue of connections not accepted yet.
  package var backlog: Int32 = 4096
  /// How long a silent connection is left alone before its other end is asked whether it lives, and
  /// between such questions, as Go's listeners do.
  package var keepaliveSeconds = 15
  /// Files that are no connections'.
  private static let ownFiles = 100

  package init(endpoints: [GatewayEndpoint], listenHost: String, listenPort: Int) {
    self.endpoints = endpoints
    self.listenHost = listenHost
    self.listenPort = listenPort
  }
}
