import Base
import HTTP2
import Histogram
import NIOCore
import Proto
import RPC

/// One event loop's share of a load of renewals: it grants leases, then keeps them alive, every
/// client with one renewal under way on its own stream.
///
/// Confined to its event loop, the methods that return futures apart.
final class LeaseLoop: ClientCallDelegate, @unchecked Sendable {
  // Sendable so that it can be handed to its loop.

  private struct Client {
    var connection: Int
    var call: CallID?
    /// Its leases are `next`, `next + clients`, and so on, in turn.
    var next: Int
    var start: UInt64 = 0
  }

  private static let grantPath = "/etcdserverpb.Lease/LeaseGrant"
  private static let keepAlivePath = "/etcdserverpb.Lease/LeaseKeepAlive"

  private let share: LoadShare
  private let leaseCount: Int
  private let ttlSeconds: Int64
  private let eventLoop: any EventLoop
  private let ready: EventLoopPromise<Void>
  private let done: EventLoopPromise<LoadResult>
  private var connections: [ClientLoopConnection] = []
  private var grantHeaders: HeaderBlock?
  private var keepAliveHeaders: HeaderBlock?
  private var clients: [Client]
  private var leases: [Int64] = []
  private var granting = 0
  private var message = ByteWriter(capacity: 64)
  private var result = LoadResult()
  private var started = 0
  private var finished = 0
  private var begin: UInt64 = 0
  private var isOver = false

  init(share: LoadShare, leases: Int, ttlSeconds: Int64, on eventLoop: any EventLoop) {
    self.share = share
    leaseCount = leases
    self.ttlSeconds = ttlSeconds
    self.eventLoop = eventLoop
    ready = eventLoop.makePromise()
    done = eventLoop.makePromise()
    clients = (0..<share.clients).map { Client(connection: $0 % share.connections, next: $0) }
  }

  deinit {
    // Whoever gave up does not look; promises want to be kept all the same.
    ready.fail(LoadError.connectionLost)
    done.fail(LoadError.connectionLost)
  }

  /// Connects and grants the leases. Any thread.
  func prepare(_ addresses: [RPCAddress]) -> EventLoopFuture<Void> {
    let connecting = (0..<share.connections).map { number in
      ClientLoopConnection.connect(
        to: addresses[number % addresses.count],
        on: eventLoop,
        delegate: self
      )
    }
    EventLoopFuture.whenAllSucceed(connecting, on: eventLoop).whenComplete { outcome in
      switch outcome {
      case .success(let connections):
        self.connections = connections
        let authority = addresses[0].description
        self.grantHeaders = RequestHeaders.block(path: Self.grantPath, authority: authority)
        self.keepAliveHeaders = RequestHeaders.block(path: Self.keepAlivePath, authority: authority)
        for client in self.clients.indices { self.grant(client) }
        self.flush()
      case .failure(let error): self.fail(error)
      }
    }
    return ready.futureResult
  }

  private func grant(_ client: Int) {
    guard granting < leaseCount, let grantHeaders else { return }
    granting += 1
    message.removeAll()
    message.append(field: 1, varint: ttlSeconds)
    let connection = connections[clients[client].connection]
    let call = connection.startUnary(path: grantHeaders, message: message.bytes, token: client)
    if call == nil { fail(LoadError.connectionLost) }
  }

  /// Renews until all is done. Any thread.
  func run() -> EventLoopFuture<LoadResult> {
    eventLoop.execute {
      self.begin = NIODeadline.now().uptimeNanoseconds
      for client in self.clients.indices { self.open(client) }
      self.flush()
    }
    return done.futureResult
  }

  private func open(_ client: Int) {
    guard let keepAliveHeaders else { return }
    clients[client].call = connections[clients[client].connection].start(
      headers: keepAliveHeaders,
      token: client
    )
    renew(client)
  }

  private func renew(_ client: Int) {
    guard started < share.total, let call = clients[client].call else { return }
    started += 1
    let lease = leases[clients[client].next % leases.count]
    clients[client].next += clients.count
    clients[client].start = NIODeadline.now().uptimeNanoseconds
    message.removeAll()
    message.append(field: 1, varint: lease)
    connections[clients[client].connection].send(call, message.bytes)
  }

  func callReceived(_ token: Int, _ message: UnsafeRawBufferPointer) {
    let (id, ttl) = Self.lease(message)
    guard begin != 0 else {
      leases.append(id)
      return
    }
    let now = NIODeadline.now().uptimeNanoseconds
    finished += 1
    if ttl > 0 {
      result.latencies.record(max((now - clients[token].start) / 1000, 1))
    } else {
      result.failures += 1
      result.note(RPCStatus(.notFound, "the lease is gone"))
    }
    if finished == share.total { return finish(now) }
    renew(token)
  }

  func callEnded(_ token: Int, _ end: CallEnd) {
    guard begin == 0 else { return fail(LeaseFailure.ended(end.status)) }
    guard end.status.code == .ok else { return fail(LeaseFailure.ended(end.status)) }
    if leases.count == leaseCount { return ready.succeed(()) }
    grant(token)
  }

  /// The lease and what it has left, in the answer to a grant or a renewal.
  private static func lease(_ message: UnsafeRawBufferPointer) -> (id: Int64, ttl: Int64) {
    var answer: (id: Int64, ttl: Int64) = (0, 0)
    var scanner = WireScanner(message)
    while let field = try? scanner.next() {
      switch (field.number, field.value) {
      case (2, .varint(let id)): answer.id = Int64(bitPattern: id)
      case (3, .varint(let ttl)): answer.ttl = Int64(bitPattern: ttl)
      default: continue
      }
    }
    return answer
  }

  private func finish(_ now: UInt64) {
    isOver = true
    result.seconds = Double(now - begin) / 1e9
    for connection in connections { connection.closeNow() }
    done.succeed(result)
  }

  private func fail(_ error: any Error) {
    guard !isOver else { return }
    isOver = true
    ready.fail(error)
    done.fail(error)
  }

  func connectionClosed() {
    fail(LoadError.connectionLost)
  }

  func turnEnded() {
    flush()
  }

  private func flush() {
    for connection in connections { connection.flush() }
  }
}

/// Why leases could not be kept.
enum LeaseFailure: Error, CustomStringConvertible {
  case ended(RPCStatus)

  var description: String {
    switch self {
    case .ended(let status): "a call ended: \(status)"
    }
  }
}
