import Base
import Proto

/// The calls of a load: which method, and what each request says. One per event loop.
protocol Workload: SendableMetatype {
  /// The methods it calls, as paths.
  var paths: [String] { get }

  /// Writes the request of a client's next call and says which method it is for.
  mutating func nextRequest(client: Int, into message: inout ByteWriter) -> Int

  /// Looks at the answer of a client's call. Returns false when the client's unit of work goes on
  /// with another call: only finished units are counted.
  mutating func received(client: Int, _ message: UnsafeRawBufferPointer) -> Bool
}

extension Workload {
  mutating func received(client: Int, _ message: UnsafeRawBufferPointer) -> Bool { true }
}

private enum Path {
  static let put = "/etcdserverpb.KV/Put"
  static let range = "/etcdserverpb.KV/Range"
  static let txn = "/etcdserverpb.KV/Txn"
}

/// Puts of random values.
struct PutWorkload: Workload {
  let paths = [Path.put]
  var keys: KeyChooser
  let value: [UInt8]

  init(_ options: KeyOptions, keys: KeyChooser) {
    self.keys = keys
    value = Self.value(options)
  }

  /// Bytes that do not compress.
  static func value(_ options: KeyOptions) -> [UInt8] {
    var chooser = KeyChooser(options, loop: 0, loopCount: 1)
    return (0..<options.valSize).map { _ in UInt8(truncatingIfNeeded: chooser.random()) }
  }

  mutating func nextRequest(client: Int, into message: inout ByteWriter) -> Int {
    writePut(into: &message)
    return 0
  }

  mutating func writePut(into message: inout ByteWriter) {
    keys.withNextKey { message.append(field: 1, content: $0) }
    value.withUnsafeBytes { message.append(field: 2, content: $0) }
  }
}

/// Ranges over one key or an interval of keys.
struct RangeWorkload: Workload {
  let paths = [Path.range]
  var keys: KeyChooser
  let isSerializable: Bool
  /// Whether to read everything from the key on.
  let isOpen: Bool
  let limit: Int

  mutating func nextRequest(client: Int, into message: inout ByteWriter) -> Int {
    keys.withNextKey { message.append(field: 1, content: $0) }
    if isOpen {
      message.append(field: 2, lengthOfContent: 1)
      message.append(byte: 0)
    }
    message.append(field: 3, varint: Int64(limit))
    message.append(field: 7, varint: UInt64(isSerializable ? 1 : 0))
    return 0
  }
}

/// Transactions of several puts.
struct TxnPutWorkload: Workload {
  let paths = [Path.txn]
  var puts: PutWorkload
  let operationsPerTxn: Int

  mutating func nextRequest(client: Int, into message: inout ByteWriter) -> Int {
    for _ in 0..<operationsPerTxn {
      let start = message.count
      puts.writePut(into: &message)
      message.closeField(2, since: start)
      message.closeField(2, since: start)
    }
    return 0
  }
}

/// Transactions that read one key, mixed with transactions that put one.
struct TxnMixedWorkload: Workload {
  let paths = [Path.txn]
  var puts: PutWorkload
  /// Reads for each put, on average.
  let readsPerWrite: Double

  mutating func nextRequest(client: Int, into message: inout ByteWriter) -> Int {
    let start = message.count
    let share = readsPerWrite / (readsPerWrite + 1)
    let isRead = Double(puts.keys.random() >> 11) / Double(1 << 53) < share
    if isRead {
      puts.keys.withNextKey { message.append(field: 1, content: $0) }
      message.closeField(1, since: start)
    } else {
      puts.writePut(into: &message)
      message.closeField(2, since: start)
    }
    message.closeField(2, since: start)
    return 0
  }
}

/// Software transactional memory: read a key, then write it if it has not changed meanwhile, and
/// start over if it has.
struct STMWorkload: Workload {
  let paths = [Path.range, Path.txn]
  var keys: KeyChooser
  let value: [UInt8]
  /// What each client is at: nil before its read, then the key and what was read of it.
  private var readings: [Int: (key: [UInt8], modRevision: Int64?)] = [:]
  /// Units of work that had to start over.
  private(set) var conflicts = 0

  init(_ options: KeyOptions, keys: KeyChooser) {
    self.keys = keys
    value = PutWorkload.value(options)
  }

  mutating func nextRequest(client: Int, into message: inout ByteWriter) -> Int {
    if let reading = readings[client], let revision = reading.modRevision {
      writeTxn(reading.key, revision, into: &message)
      return 1
    }
    if readings[client] == nil {
      var key: [UInt8] = []
      keys.withNextKey { key = [UInt8]($0) }
      readings[client] = (key, nil)
    }
    let key = readings[client]?.key ?? []
    key.withUnsafeBytes { message.append(field: 1, content: $0) }
    return 0
  }

  /// Compare the key's mod revision, and put when it is still the one that was read.
  private func writeTxn(_ key: [UInt8], _ revision: Int64, into message: inout ByteWriter) {
    let request = Etcdserverpb.TxnRequest(
      compare: [
        Etcdserverpb.Compare(
          result: .equal,
          target: .mod,
          key: key,
          targetUnion: .modRevision(revision)
        )
      ],
      success: [
        Etcdserverpb.RequestOp(
          request: .requestPut(Etcdserverpb.PutRequest(key: key, value: value))
        )
      ]
    )
    request.encode(into: &message)
  }

  mutating func received(client: Int, _ message: UnsafeRawBufferPointer) -> Bool {
    guard let reading = readings[client] else { return true }
    if reading.modRevision == nil {
      let response = try? Etcdserverpb.RangeResponse(decoding: message)
      readings[client]?.modRevision = response?.kvs.first?.modRevision ?? 0
      return false
    }
    let response = try? Etcdserverpb.TxnResponse(decoding: message)
    if response?.succeeded == true {
      readings[client] = nil
      return true
    }
    conflicts += 1
    readings[client]?.modRevision = nil
    return false
  }
}
