import Base
import MVCC
import NIOCore
import Proto
import RPC
import Replica
import Watch

/// The Watch service of one event loop: turns calls into streams of the loop's `WatchHub`, brings it
/// the events, and has the reader pool make its scans.
///
/// Confined to its event loop; `Sendable` only so that other threads can hand it back to that loop.
final class EventWatchService: WatchService, @unchecked Sendable {
  private let loop: RequestLoop
  private let hub: WatchHub
  private let output: WatchCallOutput
  private let feed: WatchFeed
  private let statistics: WatchStatistics
  private var streams: [CallID: WatchStream] = [:]
  /// What `statistics` was told.
  private var told = WatchCounts()

  init(loop: RequestLoop) {
    self.loop = loop
    statistics = loop.shared.watchStatistics
    feed = loop.watchFeed
    output = WatchCallOutput(loop: loop)
    var limits = WatchLimits()
    limits.fragmentBytesMax = loop.shared.settings.requestBytesMax
    hub = WatchHub(
      store: loop.shared.store,
      output: output,
      limits: limits,
      seed: UInt64.random(in: 0 ... .max)
    )
    output.becameWritable = { [unowned self] id in self.becameWritable(id) }
  }

  /// Begins to tell idle watches of progress. On the event loop, once.
  func start() {
    let interval = loop.shared.settings.watchProgressNotifyInterval
    let pause = TimeAmount.nanoseconds(
      max(Self.notifyPauseMin, Int64(interval.wholeNanoseconds) / Int64(WatchHub.phaseCount))
    )
    loop.eventLoop.scheduleRepeatedTask(initialDelay: pause, delay: pause) { [weak self] _ in
      guard let self, self.hub.isActive else { return }
      self.hub.notifyIdle()
      self.workDone()
    }
  }

  /// The shortest time between two looks at idle watches, in nanoseconds.
  private static let notifyPauseMin: Int64 = 1_000_000

  // MARK: Calls

  func watchStarted(_ call: ServerCall) {
    guard !loop.shared.isStopping else { return call.finish(RPCStatus(.serverStopped)) }
    if !hub.isActive { feed.want(true) }
    streams[call.id] = hub.openStream(call.id.rawValue)
    // A client that waits for the stream to stand would wait for its first watch otherwise.
    call.sendHeaders()
    tellStatistics()
  }

  func watch(_ request: IncomingMessage<Etcdserverpb.WatchRequest.View>, _ call: ServerCall) {
    guard let stream = streams[call.id] else { return }
    switch request.view.requestUnion {
    case .createRequest(let create):
      let demand = WatchDemand(create)
      if let refusal = refusal(demand, call) {
        hub.refuse(.other(Self.reason(refusal)), on: stream)
      } else {
        hub.create(demand, on: stream)
      }
    case .cancelRequest(let cancel):
      hub.cancel(cancel.watchID, on: stream)
    case .progressRequest:
      hub.requestProgress(on: stream)
    case nil:
      break
    }
    work()
  }

  /// Here a watch is admitted or refused: why its user may not read what it asks for, or nil.
  private func refusal(_ demand: WatchDemand, _ call: ServerCall) -> RequestError? {
    loop.readRefusal(call, demand.key, demand.rangeEnd)
  }

  /// An error as gRPC for Go prints it: clients compare it with theirs, to see whether a new token
  /// would help.
  private static func reason(_ error: RequestError) -> String {
    let (code, text) = error.codeAndText
    return "rpc error: code = \(code.name) desc = \(text)"
  }

  /// The client will ask for nothing more; its watches go on until it ends the call, as with etcd.
  func watchEnded(_ call: ServerCall) {}

  func callCancelled(_ call: ServerCall) {
    close(call.id)
    tellStatistics()
  }

  private func close(_ id: CallID) {
    guard let stream = streams.removeValue(forKey: id) else { return }
    hub.closeStream(stream)
    if !hub.isActive { feed.want(false) }
  }

  /// Ends all calls: the member stops.
  func endAll() {
    for id in streams.keys.sorted(by: { $0.rawValue < $1.rawValue }) {
      loop.calls.call(id)?.finish(RPCStatus(.serverStopped))
      close(id)
    }
    tellStatistics()
    loop.calls.flush()
  }

  // MARK: Events

  /// A block has arrived.
  func deliver(_ block: EventBlock) {
    hub.deliver(block)
    workDone()
  }

  /// Blocks were left out.
  func loseTouch() {
    hub.loseTouch()
    workDone()
  }

  private func becameWritable(_ id: CallID) {
    guard let stream = streams[id] else { return }
    hub.becameWritable(stream)
    workDone()
  }

  /// What follows every call of the hub outside of a read turn.
  private func workDone() {
    work()
    loop.calls.flush()
  }

  private func work() {
    if let scan = hub.nextWork() { submit(scan) }
    tellStatistics()
  }

  private func submit(_ scan: EventScan) {
    let store = loop.shared.store
    let submitted = loop.shared.readers.submit { [loop] reader, _ in
      let outcome = store.run(scan, reader: reader)
      loop.eventLoop.execute {
        self.hub.finish(outcome)
        self.workDone()
      }
    }
    if !submitted { hub.abandonScan() }
  }

  private func tellStatistics() {
    guard hub.counts != told else { return }
    output.streamCount = hub.counts.streams
    statistics.add(hub.counts, since: told)
    told = hub.counts
  }
}

extension WatchDemand {
  /// What a create request says. An empty key means the smallest one, as with etcd.
  init(_ request: Etcdserverpb.WatchCreateRequest.View) {
    self.init(
      key: request.key.isEmpty ? Self.smallestKey : request.key,
      rangeEnd: request.rangeEnd
    )
    startRevision = request.startRevision
    watchID = request.watchID
    for filter in request.filters {
      if filter == .noput { noPut = true }
      if filter == .nodelete { noDelete = true }
    }
    previousPair = request.prevKV
    fragment = request.fragment
    progressNotify = request.progressNotify
  }

  private nonisolated(unsafe) static let smallestKey: UnsafeRawBufferPointer = {
    let byte = UnsafeMutableRawBufferPointer.allocate(byteCount: 1, alignment: 1)
    byte[0] = 0
    return UnsafeRawBufferPointer(byte)
  }()
}
