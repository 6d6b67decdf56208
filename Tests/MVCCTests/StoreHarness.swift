import Base
import MVCC
import Proto
import Storage

typealias Pb = Etcdserverpb

/// A store over a simulated disk, spoken to in protobuf messages.
final class StoreHarness {
  static let header = ResponseHeader(
    clusterID: ClusterID(7),
    memberID: MemberID(8),
    raftTerm: Term(9)
  )

  let disk: MemoryDisk
  let storage: TieredStorage
  let store: Store
  let reader: StoreReader
  private let arena = Arena()

  /// Opens what the disk holds.
  init(disk: MemoryDisk = MemoryDisk(), leases: (any LeaseTable)? = nil) throws {
    self.disk = disk
    storage = TieredStorage(over: MemoryStorage(disk: disk))
    store = try Store(storage: storage, leases: leases)
    reader = store.makeReader()
  }

  static func header(_ revision: Int64) -> Pb.ResponseHeader {
    Pb.ResponseHeader(clusterID: 7, memberID: 8, revision: revision, raftTerm: 9)
  }

  private func view<View: MessageView>(_ message: some Message) throws -> View {
    arena.reset()
    return try message.encoded().withUnsafeBytes { try View(decoding: $0, in: arena) }
  }

  /// Runs `body`, and checks that it wrote nothing if it threw.
  private func reply<Response: Message>(
    _ body: (inout ByteWriter) throws(StoreError) -> Void
  ) throws -> Response {
    var writer = ByteWriter()
    writer.append(byte: 99)
    do {
      try body(&writer)
    } catch {
      precondition(writer.count == 1, "an error left \(writer.count - 1) bytes behind")
      throw error
    }
    let bytes = [UInt8](writer.bytes.dropFirst())
    let response = try Response(decoding: bytes)
    precondition(response.encoded() == bytes, "a response is not in canonical form")
    return response
  }

  func put(_ request: Pb.PutRequest) throws -> Pb.PutResponse {
    let view: Pb.PutRequest.View = try view(request)
    store.beginBatch()
    defer { store.endBatch() }
    return try reply { (writer) throws(StoreError) in
      try Store.check(view)
      try store.put(view, header: Self.header, reply: &writer)
    }
  }

  @discardableResult
  func put(_ key: String, _ value: String, lease: Int64 = 0) throws -> Pb.PutResponse {
    try put(Pb.PutRequest(key: Array(key.utf8), value: Array(value.utf8), lease: lease))
  }

  func delete(_ request: Pb.DeleteRangeRequest) throws -> Pb.DeleteRangeResponse {
    let view: Pb.DeleteRangeRequest.View = try view(request)
    store.beginBatch()
    defer { store.endBatch() }
    return try reply { (writer) throws(StoreError) in
      try Store.check(view)
      try store.deleteRange(view, header: Self.header, reply: &writer)
    }
  }

  @discardableResult
  func delete(_ key: String, _ end: String = "") throws -> Pb.DeleteRangeResponse {
    try delete(Pb.DeleteRangeRequest(key: Array(key.utf8), rangeEnd: Array(end.utf8)))
  }

  func check(_ request: Pb.TxnRequest, maxOperations: Int = 128) throws {
    let view: Pb.TxnRequest.View = try view(request)
    try Store.check(view, maxOperations: maxOperations)
  }

  /// Applies a txn through the write path, or answers it through the read path.
  func txn(_ request: Pb.TxnRequest, readOnly: Bool = false) throws -> Pb.TxnResponse {
    let view: Pb.TxnRequest.View = try view(request)
    if readOnly {
      return try reply { (writer) throws(StoreError) in
        try Store.check(view, maxOperations: 128)
        try store.readOnlyTxn(view, header: Self.header, reader: reader, into: &writer)
      }
    }
    store.beginBatch()
    defer { store.endBatch() }
    return try reply { (writer) throws(StoreError) in
      try Store.check(view, maxOperations: 128)
      try store.txn(view, header: Self.header, reply: &writer)
    }
  }

  func isReadOnly(_ request: Pb.TxnRequest) throws -> Bool {
    let view: Pb.TxnRequest.View = try view(request)
    return Store.isReadOnly(view)
  }

  func isSerializable(_ request: Pb.TxnRequest) throws -> Bool {
    let view: Pb.TxnRequest.View = try view(request)
    return Store.isSerializable(view)
  }

  func range(_ request: Pb.RangeRequest) throws -> Pb.RangeResponse {
    let view: Pb.RangeRequest.View = try view(request)
    return try reply { (writer) throws(StoreError) in
      try Store.check(view)
      try store.range(view, header: Self.header, reader: reader, into: &writer)
    }
  }

  func range(_ key: String, _ end: String = "", revision: Int64 = 0) throws -> Pb.RangeResponse {
    try range(
      Pb.RangeRequest(key: Array(key.utf8), rangeEnd: Array(end.utf8), revision: revision)
    )
  }

  func estimate(_ request: Pb.RangeRequest) throws -> Int {
    let view: Pb.RangeRequest.View = try view(request)
    return store.estimateCount(view)
  }

  func isStreamable(_ request: Pb.RangeRequest) throws -> Bool {
    let view: Pb.RangeRequest.View = try view(request)
    return Store.isStreamable(view)
  }

  func cursor(_ request: Pb.RangeRequest) throws -> RangeCursor {
    let view: Pb.RangeRequest.View = try view(request)
    return try store.rangeCursor(view, header: Self.header)
  }

  /// The next message of a cursor, and whether another one follows.
  func next(_ cursor: RangeCursor, bytesMax: Int) throws -> (Pb.RangeResponse, Bool) {
    var hasMore = false
    let response: Pb.RangeStreamResponse = try reply { (writer) throws(StoreError) in
      hasMore = try cursor.next(bytesMax: bytesMax, reader: reader, into: &writer)
    }
    return (response.rangeResponse ?? Pb.RangeResponse(), hasMore)
  }

  /// The response of a range that is written in pieces, which must be as long as it says before.
  func pieces(_ request: Pb.RangeRequest, bytesMax: Int) throws -> Pb.RangeResponse {
    let view: Pb.RangeRequest.View = try view(request)
    let pieces = try store.rangePieces(view, header: Self.header)
    let length = try pieces.measure(reader: reader)
    return try reply { (writer) throws(StoreError) in
      let start = writer.count
      var hasMore = true
      while hasMore {
        var piece = ByteWriter()
        hasMore = try pieces.next(bytesMax: bytesMax, reader: reader, into: &piece)
        writer.append(piece.bytes)
      }
      guard writer.count - start == length else { throw .corrupt }
    }
  }

  @discardableResult
  func compact(_ revision: Int64) throws -> Pb.CompactionResponse {
    let view: Pb.CompactionRequest.View = try view(Pb.CompactionRequest(revision: revision))
    store.beginBatch()
    defer { store.endBatch() }
    return try reply { (writer) throws(StoreError) in
      try store.compact(view, header: Self.header, reply: &writer)
    }
  }

  func hashKV(_ revision: Int64 = 0) throws -> RevisionHash {
    try store.hashKV(revision: Revision(revision), reader: reader)
  }

  /// Makes everything applied durable.
  func flush() throws {
    guard let job = store.seal(metadata: []) else { return }
    try job.run()
    store.finish(job)
  }

  /// Carries a compaction through to the disk.
  func finishCompaction(limit: Int = 1000) throws {
    while try store.compactionStep(limit: limit) {
      if store.wantsFlush { try flush() }
    }
  }
}
