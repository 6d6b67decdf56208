import HTTP2
package import NIOCore
import Sockets

/// The bounds and times of a server. All have defaults that suit an etcd server.
package struct RPCServerConfiguration: Sendable {
  /// The longest request message, decompressed: etcd's request limit and its overhead.
  package var messageBytesMax = 1_572_864 + (512 << 10)
  /// The most bytes of unfinished messages that one connection may have us hold.
  package var partialBytesPerConnectionMax = 64 << 20
  /// The most bytes of answers that one connection may leave unread; its further calls are refused.
  package var bufferedBytesPerConnectionMax = 64 << 20
  /// The most calls that one connection may have open at a time.
  package var concurrentStreamsMax: UInt32 = 16_384
  /// How many bytes of a stream may wait for a slow reader before `isWritable` is false, and before
  /// further request messages of the stream are left to flow control.
  package var outputBufferedBytesMax = 256 << 10
  /// What a client may send of one stream, and of all of a connection, before we take some, where it
  /// is not the usual.
  package var streamWindowBytes: UInt32?
  package var connectionWindowBytes: UInt32?
  /// How long the one request message of a call, or a plain HTTP request, may take to arrive.
  package var requestArrivalTimeout = TimeAmount.seconds(60)
  /// How long a new connection may take to show which protocol it speaks.
  package var firstBytesTimeout = TimeAmount.seconds(10)
  /// How long an idle HTTP/1.1 connection is kept.
  package var httpIdleTimeout = TimeAmount.seconds(120)
  /// The longest body of a plain HTTP request.
  package var httpBodyBytesMax = 2 << 20
  /// The most connections, on all sockets together; more are closed as they come.
  package var connectionsMax = min(65_536, max(1, OpenFiles.limit - Self.ownFiles))
  /// The sockets' queue of connections not accepted yet.
  package var backlog: Int32 = 4096
  /// A client that pings more often than this without need is sent away.
  package var keepaliveMinTime = TimeAmount.seconds(5)
  /// How long a connection is silent before it is pinged.
  package var keepaliveInterval = TimeAmount.hours(2)
  /// How long the answer to such a ping may take.
  package var keepaliveTimeout = TimeAmount.seconds(20)
  /// Files that connections leave for what is behind the server: log, store and peers. As etcd has it.
  private static let ownFiles = 150

  package init() {}

  /// The settings of each HTTP/2 connection.
  var http2: HTTP2Configuration {
    var http2 = HTTP2Configuration()
    http2.concurrentStreamsMax = concurrentStreamsMax
    if let streamWindowBytes { http2.initialWindowBytes = streamWindowBytes }
    if let connectionWindowBytes { http2.connectionWindowBytes = connectionWindowBytes }
    // The margin lets metadata that is too long be answered by a status.
    http2.headerListBytesMax = Metadata.bytesMax + (8 << 10)
    http2.streamBufferedBytesHigh = outputBufferedBytesMax
    http2.streamBufferedBytesLow = outputBufferedBytesMax / 4
    http2.keepalive.pingMinInterval = keepaliveMinTime
    http2.keepalive.pingInterval = keepaliveInterval
    http2.keepalive.pingTimeout = keepaliveTimeout
    http2.handshakeTimeout = firstBytesTimeout
    return http2
  }

  /// The settings of a connection of the process with itself: many streams, none of which may hold
  /// up the others, and nobody to be protected from.
  var loopbackHTTP2: HTTP2Configuration {
    var http2 = http2
    http2.concurrentStreamsMax = Self.loopbackStreamsMax
    http2.connectionWindowBytes = Self.loopbackWindowBytes
    http2.streamBufferedBytesHigh = Self.loopbackStreamBufferedBytes
    http2.streamBufferedBytesLow = Self.loopbackStreamBufferedBytes / 4
    http2.floodLimits.resetsBurst = Self.unlimited
    http2.floodLimits.controlFramesBurst = Self.unlimited
    return http2
  }

  static let loopbackStreamsMax: UInt32 = 1 << 19
  /// HTTP/2 knows no larger window.
  static let loopbackWindowBytes: UInt32 = (1 << 31) - 1
  static let loopbackStreamBufferedBytes = 64 << 10
  private static let unlimited = 1 << 40
}
