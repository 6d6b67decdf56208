internal import CNghttp2
package import NIOCore

/// The times that a session's deadlines count from.
struct SessionClock {
  let startedAt: NIODeadline
  /// The peer's SETTINGS have come.
  var isHandshakeDone = false
  var lastReadAt: NIODeadline
  /// When our PING went out that nothing has answered so far.
  var pingSentAt: NIODeadline?

  init(startedAt: NIODeadline) {
    self.startedAt = startedAt
    lastReadAt = startedAt
  }
}

/// How far a graceful shutdown has come.
enum ShutdownState {
  case running
  /// The first GOAWAY is out, which names no stream yet; new streams are still served.
  case noticed(at: NIODeadline)
  /// The last GOAWAY is out; the streams that are open run to their end.
  case draining
}

extension HTTP2Session {
  /// When `timePassed` must be called next. Activity moves it only later; nil never.
  package var nextDeadline: NIODeadline? {
    guard ending == nil else { return nil }
    var next = keepaliveDeadline
    if !clock.isHandshakeDone {
      next = earlier(next, clock.startedAt + configuration.handshakeTimeout)
    }
    if case .noticed(let at) = shutdown {
      next = earlier(next, at + configuration.shutdownNoticeTimeout)
    }
    return next
  }

  private var keepaliveDeadline: NIODeadline? {
    guard let interval = configuration.keepalive.pingInterval else { return nil }
    if let sentAt = clock.pingSentAt { return sentAt + configuration.keepalive.pingTimeout }
    return clock.lastReadAt + interval
  }

  private func earlier(_ left: NIODeadline?, _ right: NIODeadline) -> NIODeadline {
    left.map { min($0, right) } ?? right
  }

  /// Does what is due.
  package func timePassed(now: NIODeadline) {
    self.now = now
    guard ending == nil else { return }
    if !clock.isHandshakeDone, now >= clock.startedAt + configuration.handshakeTimeout {
      fail(.handshakeTimeout, errorCode: NGHTTP2_SETTINGS_TIMEOUT.rawValue)
      return
    }
    if case .noticed(let at) = shutdown, now >= at + configuration.shutdownNoticeTimeout {
      finishShutdown()
    }
    keepAlive()
  }

  private func keepAlive() {
    guard let interval = configuration.keepalive.pingInterval else { return }
    if let sentAt = clock.pingSentAt {
      if clock.lastReadAt > sentAt {
        clock.pingSentAt = nil
      } else if now >= sentAt + configuration.keepalive.pingTimeout {
        fail(.keepaliveTimeout, errorCode: NGHTTP2_NO_ERROR.rawValue)
        return
      } else {
        return
      }
    }
    guard now >= clock.lastReadAt + interval else { return }
    guard liveCount > 0 || configuration.keepalive.pingsWithoutStreams else {
      // Counts the next interval from here.
      clock.lastReadAt = now
      return
    }
    submitPing()
    clock.pingSentAt = now
  }

  private func submitPing() {
    isDirty = true
    nghttp2_submit_ping(handle, UInt8(NGHTTP2_FLAG_NONE.rawValue), nil)
  }

  func pingReceived(isAck: Bool) {
    if isAck {
      if case .noticed = shutdown { finishShutdown() }
      return
    }
    guard role == .server else { return }
    let keepalive = configuration.keepalive
    defer { lastPingAt = now }
    if sentSincePing {
      // A peer that gets answers may probe: it measures the round trip, or its call is slow.
      sentSincePing = false
      pingStrikes = 0
      return
    }
    let interval =
      liveCount > 0 ? keepalive.pingMinInterval : keepalive.idlePingMinInterval
    guard let last = lastPingAt, now < last + interval else { return }
    pingStrikes += 1
    guard pingStrikes > keepalive.pingStrikesMax else { return }
    cutOff(.pings, debug: "too_many_pings")
  }

  /// Ends the connection without harm to calls: a GOAWAY that refuses nothing, one round trip for
  /// the requests under way, a GOAWAY that names the last stream served; then streams run out.
  package func shutdownGracefully(now: NIODeadline) {
    self.now = now
    guard ending == nil, case .running = shutdown else { return }
    isDirty = true
    guard role == .server else {
      shutdown = .noticed(at: now)
      finishShutdown()
      return
    }
    shutdown = .noticed(at: now)
    nghttp2_submit_shutdown_notice(handle)
    submitPing()
  }

  private func finishShutdown() {
    guard case .noticed = shutdown else { return }
    shutdown = .draining
    isDirty = true
    nghttp2_submit_goaway(
      handle,
      UInt8(NGHTTP2_FLAG_NONE.rawValue),
      nghttp2_session_get_last_proc_stream_id(handle),
      NGHTTP2_NO_ERROR.rawValue,
      nil,
      0
    )
  }

  /// Ends the connection now: one GOAWAY with this code, open streams are lost.
  package func closeNow(errorCode: UInt32) {
    fail(.closedLocally(errorCode: errorCode), errorCode: errorCode)
  }
}
