import Base
import MVCC
import Proto
import Storage
import Testing
import Watch

typealias Pb = Etcdserverpb

/// Keeps what a hub sends, decoded, by stream.
final class RecordedOutput: WatchOutput {
  /// What arrived on a stream and was not taken yet.
  var arrived: [UInt64: [Pb.WatchResponse]] = [:]
  /// How many more responses a stream takes; none is given for those that take any number.
  var room: [UInt64: Int] = [:]
  var awaited: Set<UInt64> = []
  var sharedBodies = 0

  var header: ResponseHeader {
    ResponseHeader(clusterID: ClusterID(7), memberID: MemberID(8), raftTerm: Term(9))
  }

  func isWritable(_ stream: UInt64) -> Bool { room[stream] != 0 }

  func notifyWhenWritable(_ stream: UInt64) {
    #expect(!isWritable(stream))
    #expect(awaited.insert(stream).inserted)
  }

  func send(_ stream: UInt64, _ head: UnsafeRawBufferPointer, _ body: UnsafeRawBufferPointer) {
    do {
      let response = try Pb.WatchResponse(decoding: [UInt8](head) + [UInt8](body))
      #expect(response.encoded() == [UInt8](head) + [UInt8](body), "not in canonical form")
      arrived[stream, default: []].append(response)
    } catch {
      Issue.record("a response does not decode: \(error)")
    }
    if let left = room[stream] { room[stream] = max(left - 1, 0) }
  }

  func send(_ stream: UInt64, _ head: UnsafeRawBufferPointer, shared body: SharedBytes) {
    sharedBodies += 1
    body.withUnsafeBytes { send(stream, head, $0) }
  }
}

/// A store and the hub of its watches, on one thread.
final class WatchHarness {
  let storage: TieredStorage
  let store: Store
  let hub: WatchHub
  let output = RecordedOutput()
  private let reader: StoreReader
  private let arena = Arena()
  private var nextToken: UInt64 = 1

  init(disk: MemoryDisk = MemoryDisk(), limits: WatchLimits = WatchLimits()) throws {
    storage = TieredStorage(over: MemoryStorage(disk: disk))
    store = try Store(storage: storage)
    reader = store.makeReader()
    hub = WatchHub(store: store, output: output, limits: limits, seed: 1)
  }

  // MARK: Writes

  private func apply<View: MessageView>(
    _ message: some Message,
    _ body: (View, inout ByteWriter) throws(StoreError) -> Void
  ) throws {
    arena.reset()
    let view = try message.encoded().withUnsafeBytes { try View(decoding: $0, in: arena) }
    var reply = ByteWriter()
    store.beginBatch()
    defer { store.endBatch() }
    try body(view, &reply)
  }

  func put(_ key: String, _ value: String = "") throws {
    try apply(Pb.PutRequest(key: Array(key.utf8), value: Array(value.utf8))) {
      (view: Pb.PutRequest.View, reply) throws(StoreError) in
      try store.put(view, header: output.header, reply: &reply)
    }
  }

  func delete(_ key: String, _ end: String = "") throws {
    try apply(Pb.DeleteRangeRequest(key: Array(key.utf8), rangeEnd: Array(end.utf8))) {
      (view: Pb.DeleteRangeRequest.View, reply) throws(StoreError) in
      try store.deleteRange(view, header: output.header, reply: &reply)
    }
  }

  func txn(_ operations: [Pb.RequestOp]) throws {
    try apply(Pb.TxnRequest(success: operations)) {
      (view: Pb.TxnRequest.View, reply) throws(StoreError) in
      try store.txn(view, header: output.header, reply: &reply)
    }
  }

  /// Compacts, and removes from memory and storage what that drops unless `isLazy`.
  func compact(_ revision: Int64, isLazy: Bool = false) throws {
    store.beginBatch()
    defer { if !isLazy { cleanUp() } }
    defer { store.endBatch() }
    try store.compact(Revision(revision))
  }

  /// Does what housekeeping does.
  func cleanUp() {
    for _ in 0..<100 {
      if let job = store.seal(metadata: []), (try? job.run()) != nil { store.finish(job) }
      if (try? store.compactionStep(limit: 100)) == false { break }
    }
  }

  var current: Int64 { store.currentRevision.rawValue }

  // MARK: Watches

  func open() -> WatchStream {
    defer { nextToken += 1 }
    return hub.openStream(nextToken)
  }

  func create(_ request: Pb.WatchCreateRequest, on stream: WatchStream) {
    request.key.withUnsafeBytes { key in
      request.rangeEnd.withUnsafeBytes { end in
        var demand = WatchDemand(key: key, rangeEnd: end)
        demand.startRevision = request.startRevision
        demand.watchID = request.watchID
        demand.noPut = request.filters.contains(.noput)
        demand.noDelete = request.filters.contains(.nodelete)
        demand.previousPair = request.prevKV
        demand.fragment = request.fragment
        demand.progressNotify = request.progressNotify
        hub.create(demand, on: stream)
      }
    }
  }

  func create(_ key: String, _ end: String = "", from: Int64 = 0, on stream: WatchStream) {
    create(
      Pb.WatchCreateRequest(
        key: Array(key.utf8),
        rangeEnd: Array(end.utf8),
        startRevision: from
      ),
      on: stream
    )
  }

  /// Brings the hub what the store has for it, and does its reading.
  func pump() {
    if let block = store.takeEvents() { hub.deliver(block) }
    settle()
  }

  func settle() {
    while let scan = hub.nextWork() { hub.finish(store.run(scan, reader: reader)) }
  }

  func run(_ scan: EventScan) -> EventScan.Outcome { store.run(scan, reader: reader) }

  /// Lets a stream take `count` more responses, or any number.
  func setRoom(_ count: Int?, _ stream: WatchStream) {
    output.room[stream.token] = count
    if count != 0, output.awaited.remove(stream.token) != nil { hub.becameWritable(stream) }
  }

  /// What arrived on a stream since the last call.
  func take(_ stream: WatchStream) -> [Pb.WatchResponse] {
    output.arrived.removeValue(forKey: stream.token) ?? []
  }

  /// The same as short texts.
  func texts(_ stream: WatchStream) -> [String] { take(stream).map(\.text) }
}

extension Pb.WatchResponse {
  /// `0 rev 5 created`, `3: 5 a=1 6 -a`.
  var text: String {
    var parts = ["\(watchID)\(events.isEmpty ? " rev \(header?.revision ?? 0)" : ":")"]
    if created { parts.append("created") }
    if canceled { parts.append("canceled") }
    if compactRevision != 0 { parts.append("compacted \(compactRevision)") }
    if fragment { parts.append("fragment") }
    if !cancelReason.isEmpty { parts.append("(\(cancelReason))") }
    for event in events { parts.append(event.text) }
    return parts.joined(separator: " ")
  }
}

extension Mvccpb.Event {
  var text: String {
    let pair = kv ?? Mvccpb.KeyValue()
    let key = String(decoding: pair.key, as: UTF8.self)
    let value = String(decoding: pair.value, as: UTF8.self)
    let previous = prevKV.map { " was \(String(decoding: $0.value, as: UTF8.self))" } ?? ""
    return "\(pair.modRevision) " + (type == .delete ? "-\(key)" : "\(key)=\(value)") + previous
  }
}

extension Pb.RequestOp {
  static func put(_ key: String, _ value: String = "") -> Pb.RequestOp {
    Pb.RequestOp(request: .requestPut(.init(key: Array(key.utf8), value: Array(value.utf8))))
  }

  static func delete(_ key: String, _ end: String = "") -> Pb.RequestOp {
    Pb.RequestOp(
      request: .requestDeleteRange(.init(key: Array(key.utf8), rangeEnd: Array(end.utf8)))
    )
  }
}
