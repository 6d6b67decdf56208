import Base
import HTTP2
package import NIOCore
import Proto

/// Something on an open socket that a server which stops has to deal with.
protocol DrainableConnection: AnyObject {
  /// Start nothing new, finish what runs, then close.
  func drain()
  func closeNow()
  /// See `RPCServer.attach`.
  var isLoopback: Bool { get }
}

extension DrainableConnection {
  var isLoopback: Bool { false }
}

/// The gRPC server of one event loop: the services, and the running calls of all connections that
/// live on the loop.
///
/// Confined to its event loop: every member but the initialiser must be used there.
package final class RPCServerLoop: @unchecked Sendable {
  // Sendable so that a reference can travel to the loop; nothing is touched elsewhere. What the
  // path of a call touches is not checked for overlapping access at run time: each access is over
  // before other code runs.

  /// Where one method is found, and what it takes.
  struct Method {
    var service: ServiceBox
    var number: Int
    var info: MethodInfo
  }

  package let eventLoop: any EventLoop
  package let configuration: RPCServerConfiguration
  let http2Configuration: HTTP2Configuration
  let loopbackConfiguration: HTTP2Configuration

  @exclusivity(unchecked) var slots: ContiguousArray<CallSlot> = []
  @exclusivity(unchecked) var freeSlots: ContiguousArray<Int32> = []
  @exclusivity(unchecked) var methods: ContiguousArray<Method> = []
  @exclusivity(unchecked) var paths = PathTable()
  var serviceNames: Set<String> = []
  @exclusivity(unchecked) var tally = CallTally()
  @exclusivity(unchecked) var clientVersions = ClientVersions()
  @exclusivity(unchecked) var observation = CallObservation()
  /// `observation.watchedAfter`.
  @exclusivity(unchecked) var watchedAfter = Int64.max
  /// By method, when `observation` asks for them.
  var latencies: ContiguousArray<CallLatency> = []
  /// Everything that lives on an open socket, whatever it speaks.
  private(set) var connections: [ObjectIdentifier: any DrainableConnection] = [:]
  /// Those with the process itself. They outlast a drain, because calls of other connections hang
  /// on them.
  private var loopbacks: [ObjectIdentifier: any DrainableConnection] = [:]
  private(set) var isDraining = false
  private var drained: EventLoopPromise<Void>?
  /// Connections written to since the last `flush`.
  @exclusivity(unchecked) var dirtyConnections: ContiguousArray<ServerConnection> = []
  /// The slot whose message the dispatcher is looking at, -1 for none: its buffer must stay.
  @exclusivity(unchecked) var deliveringSlot = -1

  let arena = Arena()
  let gzip = Gzip()
  @exclusivity(unchecked) var inflated = ByteWriter()

  @exclusivity(unchecked) var wheel: DeadlineWheel
  @exclusivity(unchecked) var armedWake: UInt64 = .max
  var wakeTask: Scheduled<Void>?
  var sweepTask: RepeatedTask?
  /// The time at which the current read turn began, 0 outside of turns.
  @exclusivity(unchecked) var turnTime: UInt64 = 0
  /// The time at which the current batch of answers began, 0 outside of batches.
  @exclusivity(unchecked) var batchTime: UInt64 = 0

  /// A loop without services.
  package init(eventLoop: any EventLoop, configuration: RPCServerConfiguration) {
    self.eventLoop = eventLoop
    self.configuration = configuration
    http2Configuration = configuration.http2
    loopbackConfiguration = configuration.loopbackHTTP2
    wheel = DeadlineWheel(now: NIODeadline.now().uptimeNanoseconds)
  }

  /// Asked before a service hears of a call, with the method's place in `methodPaths`: what it
  /// returns is the call's end, nil lets it begin. Metadata and peer are known by then.
  @exclusivity(unchecked) package var gate: ((_ method: Int, _ call: ServerCall) -> RPCStatus?)?

  /// The paths of all methods, in the order in which their services were registered.
  package var methodPaths: [String] { methods.map(\.info.path) }

  /// All methods, in the same order.
  package var methodInfos: [MethodInfo] { methods.map(\.info) }

  /// Adds a service. Its paths must be new.
  package func register<Dispatcher: ServiceDispatcher>(_ dispatcher: Dispatcher) {
    let box = DispatcherBox(dispatcher)
    for (number, info) in Dispatcher.methods.enumerated() {
      paths.insert(info.path, method: methods.count)
      methods.append(Method(service: box, number: number, info: info))
      if let name = info.path.dropFirst().split(separator: "/").first {
        serviceNames.insert(String(name))
      }
    }
    tally.grow(methodCount: methods.count)
    if observation.measuresLatency { growLatencies() }
  }

  /// The names of the registered services, sorted.
  package var services: [String] { serviceNames.sorted() }

  /// The running call with this id, or nil when it has ended.
  package func call(_ id: CallID) -> ServerCall? {
    runningSlot(id) == nil ? nil : ServerCall(loop: self, id: id)
  }

  /// Sends out, without waiting for the loop's next turn, what was written since the last call.
  /// For the end of a batch of answers that another thread handed over.
  package func flush() {
    batchTime = 0
    for connection in dirtyConnections {
      connection.isDirty = false
      connection.http2?.flushNow()
    }
    dirtyConnections.removeAll(keepingCapacity: true)
  }

  /// A copy of the loop's counters.
  package var counters: RPCCounters {
    var result = RPCCounters()
    result.methods = methods.indices.map { tally.counters(of: $0, methods[$0].info) }
    for (method, latency) in latencies.enumerated() { result.methods[method].latency = latency }
    result.clients = clientVersions.counters
    result.bytesReceived = tally.bytesReceived
    result.bytesSent = tally.bytesSent
    result.connections = connections.count
    result.calls = slots.count - freeSlots.count
    return result
  }

  /// The time in nanoseconds; read once per read turn.
  func now() -> UInt64 {
    turnTime != 0 ? turnTime : clock()
  }

  func clock() -> UInt64 { NIODeadline.now().uptimeNanoseconds }

  /// Marks that a read turn is under way, in which one look at the clock is enough.
  func enterTurn() {
    if turnTime == 0 { turnTime = NIODeadline.now().uptimeNanoseconds }
  }
}

// Connections.
extension RPCServerLoop {
  /// Keeps the connection in the table until it leaves or its channel is closed. (A channel that is
  /// closed before it was registered never becomes inactive, so the handlers do not hear of it.)
  func enter(_ connection: any DrainableConnection, _ channel: any Channel) {
    channel.closeFuture.assumeIsolated().whenComplete { _ in self.leave(connection) }
    guard !connection.isLoopback else {
      loopbacks[ObjectIdentifier(connection)] = connection
      return
    }
    connections[ObjectIdentifier(connection)] = connection
    startSweep()
    if isDraining { connection.drain() }
  }

  func leave(_ connection: any DrainableConnection) {
    guard !connection.isLoopback else {
      loopbacks[ObjectIdentifier(connection)] = nil
      return
    }
    connections[ObjectIdentifier(connection)] = nil
    guard isDraining, connections.isEmpty else { return }
    drained?.succeed()
    drained = nil
  }

  /// Closes the connections with the process itself: the last step, when nobody else is served any
  /// more.
  func closeLoopbacks() {
    for connection in loopbacks.values { connection.closeNow() }
  }

  /// Lets what runs come to its end, at most for `timeout`, then closes all connections. The future
  /// succeeds when the last is closed. A second call can only shorten the time.
  package func drain(timeout: TimeAmount) -> EventLoopFuture<Void> {
    guard !connections.isEmpty else {
      isDraining = true
      stopTimers()
      return eventLoop.makeSucceededVoidFuture()
    }
    let promise = drained ?? eventLoop.makePromise(of: Void.self)
    drained = promise
    if !isDraining {
      isDraining = true
      for connection in connections.values { connection.drain() }
    }
    let close = eventLoop.scheduleTask(in: timeout) {
      for connection in self.connections.values { connection.closeNow() }
    }
    promise.futureResult.assumeIsolated().whenComplete { _ in
      close.cancel()
      self.stopTimers()
    }
    return promise.futureResult
  }
}

// Slots.
extension RPCServerLoop {
  /// The slot of a call that can still be answered.
  func runningSlot(_ id: CallID) -> CallSlot? {
    let index = id.slot
    guard index < slots.count else { return nil }
    let slot = slots[index]
    return slot.generation == id.generation && slot.phase == .call ? slot : nil
  }

  /// The slot that `id` names, running or about to end.
  func knownSlot(_ id: CallID) -> CallSlot? {
    let index = id.slot
    guard index < slots.count else { return nil }
    let slot = slots[index]
    return slot.generation == id.generation && slot.phase != .free ? slot : nil
  }

  /// A slot for a stream that begins; nil when all are in use.
  func openSlot(_ connection: ServerConnection, _ stream: HTTP2Stream) -> CallSlot? {
    let slot: CallSlot
    if let free = freeSlots.popLast() {
      slot = slots[Int(free)]
    } else {
      guard slots.count < CallID.slotsMax else { return nil }
      slot = CallSlot(index: slots.count)
      slots.append(slot)
    }
    slot.open(connection, stream, now: now())
    stream.tag = slot.index + 1
    return slot
  }

  /// Ends the slot's use. Its stream, if it lives on, is ignored from now on.
  func closeSlot(_ slot: CallSlot) {
    if let connection = slot.connection, let stream = slot.stream {
      stream.tag = ServerConnection.endedTag
      let held = slot.reader.heldBytes
      if held > 0 { connection.partialBytes -= held }
      if slot.heldCreditBytes > 0 { connection.http2?.consume(stream, slot.heldCreditBytes) }
      if let request = slot.http, request.unreadBytes > 0 {
        connection.http2?.consume(stream, request.unreadBytes)
        request.unreadBytes = 0
      }
    }
    if slot.deadline != .max { wheel.remove(slot.index) }
    if slot.index != deliveringSlot { slot.reader.reset() }
    slot.close()
    freeSlots.append(Int32(slot.index))
  }
}
