package import Base

// The table's bytes, in protobuf wire format. A member is encoded like `etcdserverpb.Member`.
//
//     table:  1 cluster ID varint; 2 member message, repeated, ascending by ID;
//             3 removed ID varint, repeated, ascending; 5 cluster version, when it is known;
//             15 format version varint (1)
//     member: 1 ID varint; 2 name; 3 peer URL, repeated; 4 client URL, repeated; 5 learner varint
//
// Equal tables have equal bytes. Unknown fields are skipped, an unknown format version is refused.
extension MemberTable {
  /// The version that `encode` writes and the newest that `init(decoding:)` reads.
  package static let formatVersion: UInt64 = 1

  /// Appends the table's bytes.
  package func encode(into writer: inout ByteWriter) {
    writer.append(field: 1, varint: clusterID.rawValue)
    for member in members {
      let start = writer.count
      member.encode(into: &writer)
      writer.closeField(2, since: start)
    }
    for id in removedIDs { writer.append(field: 3, varint: id.rawValue) }
    if !clusterVersion.isEmpty { writer.append(field: 5, text: clusterVersion) }
    writer.append(field: 15, varint: Self.formatVersion)
  }

  /// The table's bytes in an array of their own.
  package func encoded() -> [UInt8] {
    var writer = ByteWriter()
    encode(into: &writer)
    return [UInt8](writer.bytes)
  }

  /// Reads what `encode` wrote. The result obeys every invariant of the table, or it throws.
  package init(decoding bytes: UnsafeRawBufferPointer) throws(MemberTableDecodeError) {
    var clusterID = ClusterID(0)
    var members: [Member] = []
    var removedIDs: [MemberID] = []
    var version: UInt64 = 0
    var clusterVersion = ""
    var reader = FieldReader(bytes)
    while let field = try reader.next() {
      switch (field.number, field.value) {
      case (1, .varint(let value)): clusterID = ClusterID(value)
      case (2, .content(let content)):
        let member = try Member(decoding: content)
        guard members.last.map({ $0.id < member.id }) ?? true,
          members.count < Self.memberCountMax
        else { throw .damaged }
        members.append(member)
      case (3, .varint(let value)):
        let id = MemberID(value)
        guard removedIDs.last.map({ $0 < id }) ?? (id != .none) else { throw .damaged }
        removedIDs.append(id)
      case (5, .content(let content)): clusterVersion = try text(content)
      case (15, .varint(let value)): version = value
      case (1, _), (2, _), (3, _), (5, _), (15, _): throw .damaged
      default: break
      }
    }
    guard version <= Self.formatVersion else { throw .newerFormat(version) }
    guard version > 0 else { throw .damaged }
    self.init(
      clusterID: clusterID,
      members: members,
      removedIDs: removedIDs,
      clusterVersion: clusterVersion
    )
    for member in members where isRemoved(member.id) { throw .damaged }
  }

  /// Reads what `encode` wrote.
  package init(decoding bytes: [UInt8]) throws(MemberTableDecodeError) {
    let result = bytes.withUnsafeBytes { buffer in
      Result { () throws(MemberTableDecodeError) in try MemberTable(decoding: buffer) }
    }
    self = try result.get()
  }
}

extension Member {
  func encode(into writer: inout ByteWriter) {
    writer.append(field: 1, varint: id.rawValue)
    if !name.isEmpty { writer.append(field: 2, text: name) }
    for url in peerURLs { writer.append(field: 3, text: url) }
    for url in clientURLs { writer.append(field: 4, text: url) }
    writer.append(field: 5, varint: isLearner ? UInt64(1) : 0)
  }

  init(decoding bytes: UnsafeRawBufferPointer) throws(MemberTableDecodeError) {
    var id = MemberID.none
    var name = ""
    var peerURLs: [String] = []
    var clientURLs: [String] = []
    var isLearner = false
    var reader = FieldReader(bytes)
    while let field = try reader.next() {
      switch (field.number, field.value) {
      case (1, .varint(let value)): id = MemberID(value)
      case (2, .content(let content)): name = try text(content)
      case (3, .content(let content)): peerURLs.append(try text(content))
      case (4, .content(let content)): clientURLs.append(try text(content))
      case (5, .varint(let value)): isLearner = value != 0
      case (1...5, _): throw .damaged
      default: break
      }
      guard peerURLs.count <= MemberTable.urlCountMax, clientURLs.count <= MemberTable.urlCountMax
      else { throw .damaged }
    }
    guard id != .none else { throw .damaged }
    self.init(
      id: id,
      name: name,
      peerURLs: peerURLs,
      clientURLs: clientURLs,
      isLearner: isLearner
    )
  }
}

/// Why bytes are no member table.
package enum MemberTableDecodeError: Error, Hashable, Sendable {
  case damaged
  /// Written by a newer release than this one.
  case newerFormat(UInt64)
}

private func text(
  _ content: UnsafeRawBufferPointer
) throws(MemberTableDecodeError) -> String {
  guard let text = String(validating: content, as: UTF8.self) else { throw .damaged }
  return text
}

extension ByteWriter {
  fileprivate mutating func append(field: Int, text: String) {
    var text = text
    text.withUTF8 { append(field: field, content: UnsafeRawBufferPointer($0)) }
  }
}

/// Walks the fields of a protobuf message; valid while the bytes are.
private struct FieldReader {
  enum Value {
    case varint(UInt64)
    case content(UnsafeRawBufferPointer)
    case skipped
  }

  private var rest: UnsafeRawBufferPointer.SubSequence
  private let bytes: UnsafeRawBufferPointer

  init(_ bytes: UnsafeRawBufferPointer) {
    self.bytes = bytes
    rest = bytes[...]
  }

  mutating func next() throws(MemberTableDecodeError) -> (number: UInt64, value: Value)? {
    guard !rest.isEmpty else { return nil }
    let tag = try varint()
    guard tag >> 3 > 0 else { throw .damaged }
    switch tag & 7 {
    case 0: return (tag >> 3, .varint(try varint()))
    case 1: return (tag >> 3, try skip(8))
    case 2:
      let length = try varint()
      guard length <= UInt64(rest.count) else { throw .damaged }
      let content = rest.prefix(Int(length))
      rest = rest.dropFirst(Int(length))
      return (tag >> 3, .content(UnsafeRawBufferPointer(rebasing: content)))
    case 5: return (tag >> 3, try skip(4))
    default: throw .damaged
    }
  }

  private mutating func skip(_ count: Int) throws(MemberTableDecodeError) -> Value {
    guard rest.count >= count else { throw .damaged }
    rest = rest.dropFirst(count)
    return .skipped
  }

  private mutating func varint() throws(MemberTableDecodeError) -> UInt64 {
    var value: UInt64 = 0
    for shift in stride(from: UInt64(0), to: 70, by: 7) {
      guard let byte = rest.popFirst() else { throw .damaged }
      if shift == 63 && byte > 1 { throw .damaged }
      value |= UInt64(byte & 0x7f) << shift
      if byte < 0x80 { return value }
    }
    throw .damaged
  }
}
