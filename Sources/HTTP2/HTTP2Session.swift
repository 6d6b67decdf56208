internal import CNghttp2
package import NIOCore

/// One end of an HTTP/2 connection without its socket and clock: bytes and the time go in, calls of
/// the delegate and bytes come out. nghttp2 does the framing.
///
/// Not thread-safe; `HTTP2Connection` confines it to an event loop. After each call that can
/// cause output, `produce` until it returns 0, then look at `isFinished`.
package final class HTTP2Session {
  package let role: HTTP2Role
  package let configuration: HTTP2Configuration
  let handle: OpaquePointer
  let delegate: any HTTP2Delegate

  /// The time of the current call.
  var now: NIODeadline
  /// All stream objects, in use or not.
  var streams: [HTTP2Stream] = []
  var freeStreams: UnsafeMutablePointer<StreamState>?
  var freeStreamCount = 0
  var liveCount = 0
  /// The stream of the last callback of a receive call.
  var current: UnsafeMutablePointer<StreamState>?
  // Outside the object, so that passing its address is not an access to be checked.
  let dataProvider: UnsafeMutablePointer<nghttp2_data_provider>
  /// Outgoing bytes of body that are not framed yet, of all streams.
  var bufferedTotal = 0
  /// Bytes consumed and not reported to nghttp2, of all streams.
  var unreportedBytes = 0
  let streamReportBytes: Int
  let connectionReportBytes: Int

  /// Streams that are answered whole while their requests are still coming.
  var earlyAnswered: [Int32] = []

  /// Where `produce` writes to, and how much room there is.
  var output = UnsafeMutableRawBufferPointer(start: nil, count: 0)
  var outputCount = 0
  /// The rest of a frame for which there was no room.
  var carried: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0)
  var isOutputFull = false
  /// Streams whose delegates are due to be told that they may write.
  var writableStreams: [Int32] = []

  /// Inside `receive`, and inside `produce`: nghttp2 must not be entered again.
  var isReceiving = false
  var isProducing = false
  /// Something has been submitted since `produce` last ran dry.
  var isDirty = true

  var clock: SessionClock
  var resets: TokenBucket
  var controlFrames: TokenBucket
  /// CONTINUATION frames since the last HEADERS frame.
  var continuationCount = 0
  var pingStrikes = 0
  var lastPingAt: NIODeadline?
  /// Headers or data went out since the peer's last PING.
  var sentSincePing = true

  var shutdown = ShutdownState.running
  var isGoAwayReceived = false
  /// Set when the connection is being cut off: nothing more is taken in or sent, but one GOAWAY.
  var ending: HTTP2CloseReason?
  private var isClosedReported = false

  package init(
    role: HTTP2Role,
    configuration: HTTP2Configuration,
    delegate: any HTTP2Delegate,
    now: NIODeadline
  ) {
    self.role = role
    self.configuration = configuration
    self.delegate = delegate
    self.now = now
    handle = Self.makeHandle(role: role, configuration: configuration)
    streamReportBytes = max(1, Int(configuration.initialWindowBytes) / 4)
    connectionReportBytes = max(1, Int(configuration.connectionWindowBytes) / 4)
    clock = SessionClock(startedAt: now)
    let limits = configuration.floodLimits
    resets = TokenBucket(burst: limits.resetsBurst, perSecond: limits.resetsPerSecond, now: now)
    controlFrames = TokenBucket(
      burst: limits.controlFramesBurst,
      perSecond: limits.controlFramesPerSecond,
      now: now
    )
    dataProvider = .allocate(capacity: 1)
    dataProvider.initialize(to: nghttp2_data_provider())
    dataProvider.pointee.read_callback = Self.readCallback
    nghttp2_session_set_user_data(handle, Unmanaged.passUnretained(self).toOpaque())
    submitSettings()
  }

  deinit {
    nghttp2_session_del(handle)
    dataProvider.deallocate()
  }

  // Stored properties are internal, so that the compiler sees all accesses and checks none at run
  // time; others read them here.

  /// Streams that are open.
  package var liveStreamCount: Int { liveCount }

  /// Outgoing bytes of body that are not framed yet, of all streams.
  package var bufferedBytes: Int { bufferedTotal }

  /// Whether `produce` ended for want of room.
  package var hasMoreOutput: Bool { isOutputFull }

  /// Why the connection is being cut off or has ended.
  package var closeReason: HTTP2CloseReason? { ending }

  /// Takes in bytes from the peer. Input after a cut-off is dropped.
  package func receive(_ bytes: UnsafeRawBufferPointer, now: NIODeadline) {
    self.now = now
    clock.lastReadAt = now
    guard ending == nil, !isReceiving, let start = bytes.baseAddress else { return }
    isReceiving = true
    let taken = nghttp2_session_mem_recv(
      handle,
      start.assumingMemoryBound(to: UInt8.self),
      bytes.count
    )
    isReceiving = false
    isDirty = true
    if taken < 0 {
      receiveFailed(Int32(truncatingIfNeeded: taken))
    }
    checkBacklog()
  }

  /// Writes outgoing frames into `target` and returns how many bytes they take. 0 with
  /// `hasMoreOutput` means that `target` is too small: 17 KiB always suffice.
  package func produce(into target: UnsafeMutableRawBufferPointer, now: NIODeadline) -> Int {
    // A write that fails may close the session between two calls: what nghttp2 still holds of a
    // stream's body is gone by then.
    guard !isReceiving, !isProducing, !isClosedReported else { return 0 }
    self.now = now
    isProducing = true
    isDirty = false
    isOutputFull = false
    output = target
    outputCount = 0
    while true {
      guard copyCarried() else { break }
      var frame: UnsafePointer<UInt8>?
      let length = nghttp2_session_mem_send(handle, &frame)
      if length < 0 { fail(.internalError) }
      if length <= 0 {
        guard !isOutputFull, resetEarlyAnswered() else { break }
        continue
      }
      carried = UnsafeRawBufferPointer(start: frame, count: length)
    }
    output = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    isProducing = false
    if !isOutputFull, ending == nil, nghttp2_session_want_read(handle) == 0 { libraryStopped() }
    return outputCount
  }

  /// Copies what fits of the frame that nghttp2 handed out. False when there is no room left.
  private func copyCarried() -> Bool {
    guard carried.count > 0, let from = carried.baseAddress else { return true }
    let length = min(carried.count, output.count - outputCount)
    if let to = output.baseAddress {
      (to + outputCount).copyMemory(from: from, byteCount: length)
    }
    outputCount += length
    carried = UnsafeRawBufferPointer(rebasing: carried[length...])
    if carried.count > 0 { isOutputFull = true }
    return carried.count == 0
  }

  /// Tells the delegate of streams that fell below their low mark. Call it after `produce`.
  package func deliverWritable() {
    while !writableStreams.isEmpty {
      let due = writableStreams
      writableStreams = []
      for id in due {
        guard let stream = stream(withID: id) else { continue }
        let state = stream.state
        guard state.pointee.flags.remove(.writableDue) != nil else { continue }
        delegate.streamWritable(stream)
      }
    }
  }

  /// The socket's read has been handed over whole.
  package func turnEnded() {
    guard !isClosedReported else { return }
    delegate.turnEnded()
  }

  /// Whether everything is done and the socket should be closed after the output is written.
  package var isFinished: Bool {
    if ending != nil { return true }
    guard liveCount == 0 else { return false }
    if isGoAwayReceived { return true }
    if case .draining = shutdown { return true }
    return false
  }

  /// The socket is closed or about to be: ends all streams and tells the delegate, once. A reason
  /// found before goes first.
  package func close(_ reason: HTTP2CloseReason) {
    guard !isClosedReported else { return }
    isClosedReported = true
    let finalReason = ending ?? reason
    ending = finalReason
    for stream in streams where stream.state.pointee.flags.contains(.live) {
      closeStream(stream.state, errorCode: NGHTTP2_CANCEL.rawValue)
    }
    streams = []
    freeStreams = nil
    freeStreamCount = 0
    current = nil
    isDirty = false
    isOutputFull = false
    delegate.connectionClosed(finalReason)
  }

  /// The stream of this number while it is open.
  package func stream(withID id: Int32) -> HTTP2Stream? {
    guard !isClosedReported, let state = find(id) else { return nil }
    return state.pointee.object.takeUnretainedValue()
  }

  @inline(__always)
  func find(_ id: Int32) -> UnsafeMutablePointer<StreamState>? {
    if let current, current.pointee.id == id { return current }
    guard let found = nghttp2_session_get_stream_user_data(handle, id) else {
      return role == .client && id > 0 ? findUnsent(id) : nil
    }
    return found.assumingMemoryBound(to: StreamState.self)
  }

  // A request that nghttp2 has queued is not yet a stream to it.
  private func findUnsent(_ id: Int32) -> UnsafeMutablePointer<StreamState>? {
    for stream in streams where stream.state.pointee.id == id { return stream.state }
    return nil
  }
}
