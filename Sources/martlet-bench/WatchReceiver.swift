import Base
import HTTP2
import Histogram
import NIOCore
import Proto
import RPC

/// One event loop's share of the watches: its connections, its streams, and the events they bring.
///
/// Confined to its event loop, the methods that return futures apart.
final class WatchReceiver: ClientCallDelegate, @unchecked Sendable {
  // Sendable so that it can be handed to its loop.

  /// What a loop watches.
  struct Share {
    var connections: Int
    var streams: Int
    var slowStreams: Int
    /// The number of the first of its watches among all.
    var firstWatcher: Int
  }

  private struct Stream {
    var isSlow: Bool
    var firstWatcher: Int
    var created = 0
    var call: CallID?
    var connection: ClientLoopConnection?
  }

  private static let path = "/etcdserverpb.Watch/Watch"
  private static let checkSeconds: Int64 = 1

  private let options: WatchOptions
  private let share: Share
  private let eventLoop: any EventLoop
  private var streams: [Stream]
  private var connections: [ClientLoopConnection] = []
  private var message = ByteWriter(capacity: 256)
  private var creating: Int
  private let ready: EventLoopPromise<Void>
  private let done: EventLoopPromise<WatchResult>
  private var result = WatchResult()
  private var expected = Int.max
  private var lastEventSeen = 0
  private var idleSeconds = 0
  private var isOver = false

  init(_ options: WatchOptions, share: Share, on eventLoop: any EventLoop) {
    self.options = options
    self.share = share
    self.eventLoop = eventLoop
    ready = eventLoop.makePromise()
    done = eventLoop.makePromise()
    streams = (0..<share.streams + share.slowStreams).map { number in
      Stream(
        isSlow: number >= share.streams,
        firstWatcher: share.firstWatcher + number * options.watchersPerStream
      )
    }
    creating = streams.count * options.watchersPerStream
  }

  deinit {
    // Whoever gave up does not look; promises want to be kept all the same.
    ready.fail(LoadError.connectionLost)
    done.fail(LoadError.connectionLost)
  }

  /// How many events its watches that are read get of all puts.
  var eventsExpected: Int {
    var sum = 0
    for stream in streams where !stream.isSlow {
      for number in 0..<options.watchersPerStream {
        sum += options.puts(onKey: (stream.firstWatcher + number) % options.watchedKeys)
      }
    }
    return sum
  }

  /// Connects and makes all watches; succeeds when the server has confirmed them. Any thread.
  func open(_ addresses: [RPCAddress]) -> EventLoopFuture<Void> {
    let connecting = (0..<share.connections + share.slowStreams).map { number in
      ClientLoopConnection.connect(
        to: addresses[number % addresses.count],
        on: eventLoop,
        delegate: self
      )
    }
    EventLoopFuture.whenAllSucceed(connecting, on: eventLoop).whenComplete { outcome in
      switch outcome {
      case .success(let connections): self.openStreams(connections, addresses)
      case .failure(let error): self.ready.fail(error)
      }
    }
    return ready.futureResult
  }

  private func openStreams(_ connections: [ClientLoopConnection], _ addresses: [RPCAddress]) {
    self.connections = connections
    let headers = RequestHeaders.block(path: Self.path, authority: addresses[0].description)
    for number in streams.indices {
      // A slow one has a connection of its own: what it does not read must not stop others.
      let place =
        number < share.streams
        ? number % share.connections : share.connections + number - share.streams
      guard let call = connections[place].start(headers: headers, token: number) else {
        return fail(LoadError.connectionLost)
      }
      streams[number].call = call
      streams[number].connection = connections[place]
      for watcher in 0..<options.watchersPerStream {
        create(streams[number].firstWatcher + watcher, on: call, of: connections[place])
      }
    }
    for connection in connections { connection.flush() }
  }

  private func create(_ watcher: Int, on call: CallID, of connection: ClientLoopConnection) {
    let key = KeyChooser.key(watcher % options.watchedKeys, bytes: options.keySize)
    message.removeAll()
    key.withUnsafeBytes { message.append(field: 1, content: $0) }
    if options.prevKv { message.append(field: 6, varint: UInt64(1)) }
    message.closeField(1, since: 0)
    connection.send(call, message.bytes)
  }

  /// Succeeds when all events are there, or none came for long. Any thread.
  func finish(expecting count: Int) -> EventLoopFuture<WatchResult> {
    eventLoop.execute {
      self.expected = count
      self.checkIdle()
      self.finishIfComplete()
    }
    return done.futureResult
  }

  private func checkIdle() {
    guard !isOver else { return }
    idleSeconds = result.events == lastEventSeen ? idleSeconds + Int(Self.checkSeconds) : 0
    lastEventSeen = result.events
    if idleSeconds > options.idleSeconds { return end() }
    eventLoop.scheduleTask(in: .seconds(Self.checkSeconds)) { self.checkIdle() }
  }

  private func finishIfComplete() {
    if result.events >= expected { end() }
  }

  private func end() {
    guard !isOver else { return }
    isOver = true
    result.missing = max(expected - result.events, 0)
    for connection in connections { connection.closeNow() }
    done.succeed(result)
  }

  private func fail(_ error: any Error) {
    guard !isOver else { return }
    isOver = true
    ready.fail(error)
    done.fail(error)
  }

  // MARK: What the server sends

  func callReceived(_ token: Int, _ message: UnsafeRawBufferPointer) {
    var scanner = WireScanner(message)
    while let field = try? scanner.next() {
      switch (field.number, field.value) {
      case (11, .content(let event)):
        if !streams[token].isSlow { note(event) }
      case (3, .varint(1)): noteCreated(token)
      case (4, .varint(1)): fail(WatchFailure.canceled)
      default: continue
      }
    }
  }

  private func noteCreated(_ token: Int) {
    creating -= 1
    streams[token].created += 1
    if streams[token].isSlow, streams[token].created == options.watchersPerStream,
      let call = streams[token].call
    {
      streams[token].connection?.setPaused(call, true)
    }
    if creating == 0 { ready.succeed(()) }
  }

  @inline(__always)
  private func note(_ event: UnsafeRawBufferPointer) {
    let now = NIODeadline.now().uptimeNanoseconds
    result.events += 1
    result.end = now
    if let stamp = TimedPutWorkload.stamp(ofEvent: event), stamp < now {
      result.latencies.record(max((now - stamp) / 1000, 1))
    }
    if result.events == expected { end() }
  }

  func callEnded(_ token: Int, _ end: CallEnd) {
    fail(WatchFailure.ended(end.status))
  }

  func connectionClosed() {
    fail(LoadError.connectionLost)
  }
}

/// Why watching could not go on.
enum WatchFailure: Error, CustomStringConvertible {
  case canceled
  case ended(RPCStatus)

  var description: String {
    switch self {
    case .canceled: "the server canceled a watch"
    case .ended(let status): "a watch stream ended: \(status)"
    }
  }
}

/// Puts of values that begin with the time.
struct TimedPutWorkload: Workload {
  static let stampBytes = 8

  let paths = ["/etcdserverpb.KV/Put"]
  private var keys: KeyChooser
  private var value: [UInt8]

  init(_ options: KeyOptions) {
    keys = KeyChooser(options, loop: 0, loopCount: 1)
    value = PutWorkload.value(options)
  }

  mutating func nextRequest(client: Int, into message: inout ByteWriter) -> Int {
    let now = NIODeadline.now().uptimeNanoseconds.littleEndian
    value.withUnsafeMutableBytes { $0.storeBytes(of: now, as: UInt64.self) }
    keys.withNextKey { message.append(field: 1, content: $0) }
    value.withUnsafeBytes { message.append(field: 2, content: $0) }
    return 0
  }

  /// When the value of an encoded event was put.
  @inline(__always)
  static func stamp(ofEvent event: UnsafeRawBufferPointer) -> UInt64? {
    guard let pair = content(2, of: event), let value = content(5, of: pair),
      value.count >= stampBytes
    else { return nil }
    return UInt64(littleEndian: value.loadUnaligned(as: UInt64.self))
  }

  @inline(__always)
  private static func content(
    _ number: Int,
    of message: UnsafeRawBufferPointer
  ) -> UnsafeRawBufferPointer? {
    var scanner = WireScanner(message)
    while let field = try? scanner.next() {
      if field.number == number, case .content(let bytes) = field.value { return bytes }
    }
    return nil
  }
}
