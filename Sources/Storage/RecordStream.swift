package import Base
import CLMDB

// A store's records on their way to another member, in the order of their keys:
//
//     0   length of the key: 1 byte
//     1   length of the value: 4 bytes, little endian
//     5   the key, then the value, as LMDB has them (see `RevisionKey`)
//
// The stream may be cut into parts anywhere.

enum RecordStream {
  static let headBytes = 5
  static let keyBytesMax = RevisionBatch.metadataKeyBytesMax + 1
  /// An entry of the log is not longer than this, and so nothing that it stores.
  static let valueBytesMax = 64 << 20
}

/// A record of a store. The bytes are valid during the call that gets it.
package enum StoreRecord {
  case metadata(key: String, value: UnsafeRawBufferPointer)
  case revision(ChangeRevision, RevisionValue)
}

/// Takes apart what an `LMDBExport` wrote, and trusts none of it. Keeps no more than one record that
/// is not complete.
package struct RecordParser {
  private var incomplete: [UInt8] = []
  private var lastMetadata: String?
  private var lastRevision: ChangeRevision?

  /// Why bytes are no records of a store.
  package enum Flaw: Error, Hashable, CustomStringConvertible {
    case strangeKey
    case strangeValue(ChangeRevision)
    case valueTooLong(Int)
    case formatNewer(UInt32)
    /// Keys must ascend.
    case disordered
    /// The end lies within a record.
    case cutOff

    package var description: String {
      switch self {
      case .strangeKey: "a record has a key of a strange form"
      case .strangeValue(let revision): "revision \(revision) has a value of a strange form"
      case .valueTooLong(let count): "a record has a value of \(count) bytes"
      case .formatNewer(let format):
        "the records have format \(format), this version reads up to \(RevisionKey.formatVersion)"
      case .disordered: "the records are out of order"
      case .cutOff: "the last record is cut off"
      }
    }
  }

  package init() {}

  /// Calls `visit` with each record that `part` completes. Throws a `Flaw`, or what `visit` throws;
  /// no more parts may follow then.
  package mutating func parse(
    _ part: UnsafeRawBufferPointer,
    _ visit: (StoreRecord) throws -> Void
  ) throws {
    var rest = part[...]
    while !rest.isEmpty {
      if incomplete.isEmpty {
        let record = UnsafeRawBufferPointer(rebasing: rest)
        let length = try Self.length(of: record)
        if length <= rest.count {
          try take(UnsafeRawBufferPointer(rebasing: rest.prefix(length)), visit)
          rest = rest.dropFirst(length)
          continue
        }
      }
      try gather(&rest, visit)
    }
  }

  /// Adds to the record that is not complete.
  private mutating func gather(
    _ rest: inout Slice<UnsafeRawBufferPointer>,
    _ visit: (StoreRecord) throws -> Void
  ) throws {
    let missing = try incomplete.withUnsafeBytes { try Self.length(of: $0) } - incomplete.count
    incomplete.append(contentsOf: rest.prefix(missing))
    rest = rest.dropFirst(missing)
    let length = try incomplete.withUnsafeBytes { try Self.length(of: $0) }
    guard incomplete.count == length else { return }
    let record = incomplete
    incomplete = []
    try record.withUnsafeBytes { try take($0, visit) }
  }

  /// All parts were parsed.
  package func finish() throws(Flaw) {
    guard incomplete.isEmpty else { throw .cutOff }
  }

  /// How long the record is whose beginning this is; as long as that is unknown, how much tells.
  private static func length(of record: UnsafeRawBufferPointer) throws(Flaw) -> Int {
    guard record.count >= RecordStream.headBytes else { return RecordStream.headBytes }
    let valueBytes = Int(valueLength(record))
    guard valueBytes <= RecordStream.valueBytesMax else { throw .valueTooLong(valueBytes) }
    return RecordStream.headBytes + Int(record[0]) + valueBytes
  }

  private static func valueLength(_ record: UnsafeRawBufferPointer) -> UInt32 {
    UInt32(littleEndian: record.loadUnaligned(fromByteOffset: 1, as: UInt32.self))
  }

  private mutating func take(
    _ record: UnsafeRawBufferPointer,
    _ visit: (StoreRecord) throws -> Void
  ) throws {
    let valueStart = RecordStream.headBytes + Int(record[0])
    let key = UnsafeRawBufferPointer(rebasing: record[RecordStream.headBytes..<valueStart])
    let value = UnsafeRawBufferPointer(rebasing: record[valueStart...])
    if let revision = RevisionKey.revision(of: MDB_val(key)) {
      try visit(.revision(revision, try check(revision, value)))
    } else if key.elementsEqual(RevisionKey.formatKey) {
      try checkFormat(value)
    } else {
      try visit(.metadata(key: try check(metadata: key), value: value))
    }
  }

  private mutating func check(
    _ revision: ChangeRevision,
    _ value: UnsafeRawBufferPointer
  ) throws(Flaw) -> RevisionValue {
    guard revision >= .first, revision.sub >= 0 else { throw .strangeKey }
    if let lastRevision, lastRevision >= revision { throw .disordered }
    lastRevision = revision
    guard let flags = value.first, flags <= 1, let value = RevisionKey.value(of: MDB_val(value))
    else { throw .strangeValue(revision) }
    return value
  }

  private mutating func check(metadata key: UnsafeRawBufferPointer) throws(Flaw) -> String {
    guard let name = RevisionKey.metadataName(of: key),
      key.count > 1, key.count <= RecordStream.keyBytesMax, key.allSatisfy({ $0 < 0x80 })
    else { throw .strangeKey }
    guard lastRevision == nil, lastMetadata.map({ $0 < name }) ?? true else { throw .disordered }
    lastMetadata = name
    return name
  }

  private func checkFormat(_ value: UnsafeRawBufferPointer) throws(Flaw) {
    guard lastRevision == nil, lastMetadata == nil else { throw .disordered }
    guard value.count == MemoryLayout<UInt32>.size else { throw .strangeKey }
    let format = UInt32(littleEndian: value.loadUnaligned(as: UInt32.self))
    guard format <= RevisionKey.formatVersion else { throw .formatNewer(format) }
  }
}

extension MDB_val {
  /// The bytes as LMDB takes them; they are not written to.
  fileprivate init(_ bytes: UnsafeRawBufferPointer) {
    self.init(
      mv_size: bytes.count,
      mv_data: UnsafeMutableRawPointer(mutating: bytes.baseAddress)
    )
  }
}
