import Base
import HTTP2
import Histogram
import NIOCore
import RPC
import TLS

/// One event loop's share of a load: its connections, its clients and what they measured.
///
/// Confined to its event loop.
final class LoadLoop<Load: Workload>: ClientCallDelegate, @unchecked Sendable {
  // Sendable so that it can be handed to its loop; used nowhere else until the load is over.
  private let eventLoop: any EventLoop
  private var workload: Load
  private let share: LoadShare
  private let progress: ProgressCounter
  private var connections: [ClientLoopConnection] = []
  private var headers: [HeaderBlock] = []
  private var message = ByteWriter(capacity: 1024)
  private var clients: [Client]
  private var idle: [Int] = []
  private var started = 0
  private var finished = 0
  private var begin: UInt64 = 0
  private var due = 0
  private var isOver = false
  private let done: EventLoopPromise<LoadResult>
  private var result = LoadResult()

  /// One client: at most one call under way.
  private struct Client {
    var connection: Int
    /// When its unit of work was to start.
    var start: UInt64 = 0
    /// The status of the answer that is being received.
    var unitIsDone = false
  }

  init(_ workload: Load, share: LoadShare, on eventLoop: any EventLoop, progress: ProgressCounter) {
    self.workload = workload
    self.share = share
    self.eventLoop = eventLoop
    self.progress = progress
    done = eventLoop.makePromise()
    clients = (0..<share.clients).map { Client(connection: $0 % share.connections) }
  }

  /// Connects and runs the share to its end. Any thread.
  func run(_ addresses: [RPCAddress], tls: ClientTLS? = nil) -> EventLoopFuture<LoadResult> {
    let connecting = (0..<share.connections).map { number in
      let address = addresses[number % addresses.count]
      return ClientLoopConnection.connect(
        to: address,
        on: eventLoop,
        configuration: ClientTLS.configuration(tls, address),
        delegate: self
      )
    }
    EventLoopFuture.whenAllSucceed(connecting, on: eventLoop).whenComplete { outcome in
      switch outcome {
      case .success(let connections): self.begin(connections, addresses, isSecure: tls != nil)
      case .failure(let error): self.done.fail(error)
      }
    }
    return done.futureResult
  }

  private func begin(
    _ connections: [ClientLoopConnection],
    _ addresses: [RPCAddress],
    isSecure: Bool
  ) {
    self.connections = connections
    headers = workload.paths.map {
      RequestHeaders.block(
        path: $0,
        authority: addresses[0].description,
        isSecure: isSecure
      )
    }
    begin = NIODeadline.now().uptimeNanoseconds
    if share.rate == 0 {
      for client in clients.indices { startUnit(client, at: begin) }
      flush()
    } else {
      idle = Array(clients.indices)
      pace()
    }
  }

  // MARK: Calls

  /// Starts a client's next unit of work, unless all have been started.
  private func startUnit(_ client: Int, at time: UInt64) {
    guard started < share.total else { return }
    started += 1
    clients[client].start = time
    call(client)
  }

  private func call(_ client: Int) {
    message.removeAll()
    let method = workload.nextRequest(client: client, into: &message)
    let connection = connections[clients[client].connection]
    let id = connection.startUnary(
      path: headers[method],
      message: message.bytes,
      token: client
    )
    if id == nil { end(client, isOK: false) }
  }

  func callReceived(_ token: Int, _ message: UnsafeRawBufferPointer) {
    clients[token].unitIsDone = workload.received(client: token, message)
  }

  func callEnded(_ token: Int, _ end: CallEnd) {
    let isOK = end.status.code == .ok
    if isOK && !clients[token].unitIsDone {
      call(token)
      return
    }
    if !isOK { result.note(end.status) }
    self.end(token, isOK: isOK)
  }

  private func end(_ client: Int, isOK: Bool) {
    let now = NIODeadline.now().uptimeNanoseconds
    finished += 1
    if isOK {
      result.latencies.record(max((now - clients[client].start) / 1000, 1))
    } else {
      result.failures += 1
    }
    progress.add(1)
    if finished == share.total { return finish(now) }
    if share.rate == 0 {
      startUnit(client, at: now)
    } else {
      idle.append(client)
      startDue()
    }
  }

  func connectionClosed() {
    guard !isOver else { return }
    isOver = true
    done.fail(LoadError.connectionLost)
  }

  private func finish(_ now: UInt64) {
    isOver = true
    result.seconds = Double(now - begin) / 1e9
    for connection in connections { connection.closeNow() }
    done.succeed(result)
  }

  func turnEnded() {
    flush()
  }

  private func flush() {
    for connection in connections { connection.flush() }
  }

  // MARK: Fixed rate

  /// How often due calls are looked for.
  private static var paceNanoseconds: Int64 { 500_000 }

  private func pace() {
    guard !isOver else { return }
    startDue()
    flush()
    eventLoop.scheduleTask(in: .nanoseconds(Self.paceNanoseconds)) { self.pace() }
  }

  /// Starts what is due by now. A call that no client was free for in time counts from when it was
  /// due: a slow server cannot hide by slowing the load down (coordinated omission).
  private func startDue() {
    let now = NIODeadline.now().uptimeNanoseconds
    due = min(Int(Double(now - begin) / 1e9 * Double(share.rate)), share.total)
    while started < due, let client = idle.popLast() {
      let time = begin + UInt64(Double(started) / Double(share.rate) * 1e9)
      startUnit(client, at: time)
    }
  }
}

/// How much of a load one event loop makes.
struct LoadShare {
  var connections: Int
  var clients: Int
  var total: Int
  var rate: Int

  /// Divides a load among event loops as evenly as it goes.
  static func split(_ options: LoadOptions) -> [LoadShare] {
    (0..<options.threads).map { number in
      func part(_ whole: Int) -> Int {
        whole / options.threads + (number < whole % options.threads ? 1 : 0)
      }
      return LoadShare(
        connections: part(options.connections),
        clients: part(options.clients),
        total: part(options.total),
        rate: part(options.rate)
      )
    }
  }
}

/// Why a load could not be carried through.
enum LoadError: Error, CustomStringConvertible {
  case connectionLost

  var description: String { "a connection was lost while calls were under way" }
}
