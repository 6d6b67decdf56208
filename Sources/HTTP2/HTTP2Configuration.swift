package import NIOCore

/// Which side of the connection this is.
package enum HTTP2Role: Sendable {
  /// Accepts streams.
  case server
  /// Opens streams.
  case client
}

/// Settings and limits of one HTTP/2 connection. Every bound that protects memory or CPU is here.
package struct HTTP2Configuration: Sendable {
  /// Streams the peer may have open at once (SETTINGS_MAX_CONCURRENT_STREAMS).
  package var concurrentStreamsMax: UInt32 = 16_384
  /// Bytes of one stream that the peer may send before we consume some.
  package var initialWindowBytes: UInt32 = 1 << 20
  /// Bytes of all streams together that the peer may send before we consume some.
  package var connectionWindowBytes: UInt32 = 8 << 20
  /// The longest frame payload that the peer may send (SETTINGS_MAX_FRAME_SIZE): 2^14 to 2^24 - 1.
  package var frameBytesMax: UInt32 = 1 << 14
  /// The longest list of header fields taken in, counted as RFC 9113 does (32 more per field).
  package var headerListBytesMax = 16 << 10
  /// The longest list of header fields sent out.
  package var sentHeaderBlockBytesMax = 64 << 10
  /// CONTINUATION frames accepted after one HEADERS frame.
  package var continuationsMax = 8

  /// From here on `HTTP2Stream.isWritable` is false.
  package var streamBufferedBytesHigh = 256 << 10
  /// Below this `streamWritable` is called, after the high mark had been reached.
  package var streamBufferedBytesLow = 64 << 10
  /// Memory for control frames (acknowledgements, resets) that the peer does not read.
  package var outboundBufferedBytesMax = 256 << 10
  /// Stream objects that a connection keeps for reuse.
  package var pooledStreamsMax = 256

  package var keepalive = Keepalive()
  package var floodLimits = FloodLimits()

  /// Time from the connection's start to the peer's preface and first SETTINGS.
  package var handshakeTimeout = TimeAmount.seconds(10)
  /// Time between the first and the last GOAWAY of a graceful shutdown when the peer
  /// answers no PING.
  package var shutdownNoticeTimeout = TimeAmount.seconds(1)
  /// Time for the last bytes to leave for the socket.
  package var lastWriteTimeout = TimeAmount.seconds(20)
  /// Time after that to let the peer read them before the socket is closed.
  package var lingerTimeout = TimeAmount.milliseconds(500)

  package static let `default` = HTTP2Configuration()

  package init() {}
}

extension HTTP2Configuration {
  /// PING: what we send, and what we put up with.
  package struct Keepalive: Sendable {
    /// The shortest time between the peer's PINGs while it has streams (server only).
    package var pingMinInterval = TimeAmount.seconds(5)
    /// The shortest time between the peer's PINGs while it has no stream (server only).
    package var idlePingMinInterval = TimeAmount.hours(2)
    /// PINGs that may come too early before the peer is told to go away.
    package var pingStrikesMax = 2
    /// Silence after which we send a PING; nil never.
    package var pingInterval: TimeAmount? = .hours(2)
    /// Time for any answer after our PING; then the connection is closed.
    package var pingTimeout = TimeAmount.seconds(20)
    /// Whether we send PINGs also while no stream is open.
    package var pingsWithoutStreams = true

    package init() {}
  }

  /// Budgets of frames that cost us more than the peer. Each is a bucket of tokens: it starts
  /// full, an event takes tokens, time brings them back; the peer is cut off when it is empty.
  package struct FloodLimits: Sendable {
    /// RST_STREAM and frames that make us reset a stream.
    package var resetsBurst = 1_000
    package var resetsPerSecond = 200
    /// PING, SETTINGS, PRIORITY, WINDOW_UPDATE, CONTINUATION, unknown and ignored frames,
    /// DATA without content.
    package var controlFramesBurst = 4_096
    package var controlFramesPerSecond = 1_024
    /// Tokens that a SETTINGS frame takes: it can make us walk over all streams.
    package var settingsCost = 32
    /// Tokens given back for each DATA frame we send: they call for WINDOW_UPDATEs.
    package var controlFramesPerDataSent = 2
    /// Bytes of DATA we send for which one more token is given back. gRPC's C core answers each
    /// message that it reads with WINDOW_UPDATEs, and many small ones share a DATA frame.
    package var sentDataBytesPerControlFrame = 16
    /// Tokens kept beyond the burst for DATA sent: thousands of small frames may be under way before
    /// the peer acknowledges the first.
    package var controlFramesEarnedMax = 262_144
    /// Tokens given back for each stream that the peer opens: gRPC's C core sends a WINDOW_UPDATE
    /// with each call, also when the answer is trailers alone.
    package var controlFramesPerStream = 2
    /// Entries accepted in one SETTINGS frame.
    package var settingsEntriesMax = 32

    package init() {}
  }
}
