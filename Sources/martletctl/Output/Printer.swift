import Proto

/// Writes results to the standard output in the format that was asked for.
struct Printer: Sendable {
  let format: OutputFormat
  var isHex = false
  /// The simple format has values without their keys.
  var isValueOnly = false

  func print(_ text: String) { Streams.print(text) }

  /// A line of JSON.
  func json(_ value: JSONValue) {
    Streams.write(value.encoded() + [UInt8(ascii: "\n")])
  }

  /// The message's bytes on the wire.
  func protobuf(_ message: any Message) { Streams.write(message.encoded()) }

  /// A result that is the same in JSON and on the wire; `simple` and `fields` write the others.
  func message(
    _ message: any Message,
    fields: (inout FieldsText) -> Void = { _ in },
    simple: () -> Void
  ) {
    switch format {
    case .json: json(.message(message))
    case .protobuf: protobuf(message)
    case .fields: FieldsText.print(fields)
    case .simple, .table: simple()
    }
  }

  /// Bytes as the simple format has them.
  func shown(_ bytes: [UInt8]) -> [UInt8] {
    guard isHex else { return bytes }
    return Array(bytes.map { "\\x\(GoText.hex(UInt32($0), 2))" }.joined().utf8)
  }

  func pair(_ pair: Mvccpb.KeyValue) {
    var text: [UInt8] = isValueOnly ? [] : shown(pair.key) + [UInt8(ascii: "\n")]
    text += shown(pair.value)
    text.append(UInt8(ascii: "\n"))
    Streams.write(text)
  }
}

/// The lines of `--write-out=fields`.
struct FieldsText {
  private var bytes: [UInt8] = []

  static func print(_ body: (inout FieldsText) -> Void) {
    var text = FieldsText()
    body(&text)
    Streams.write(text.bytes)
  }

  mutating func add(_ name: String, _ value: some CustomStringConvertible) {
    bytes += "\"\(name)\" : \(value)\n".utf8
  }

  mutating func add(_ name: String, quoted value: [UInt8]) {
    bytes += "\"\(name)\" : ".utf8
    bytes += GoText.quoted(value)
    bytes.append(UInt8(ascii: "\n"))
  }

  mutating func add(_ name: String, quoted value: String) {
    add(name, quoted: RawText.bytes(value))
  }

  mutating func blank() { bytes.append(UInt8(ascii: "\n")) }

  mutating func header(_ header: Etcdserverpb.ResponseHeader?) {
    add("ClusterID", header?.clusterID ?? 0)
    add("MemberID", header?.memberID ?? 0)
    add("Revision", header?.revision ?? 0)
    add("RaftTerm", header?.raftTerm ?? 0)
  }

  /// `prefix` stands before each name: `Prev`.
  mutating func pair(_ pair: Mvccpb.KeyValue, _ prefix: String = "") {
    add("\(prefix)Key", quoted: pair.key)
    add("\(prefix)CreateRevision", pair.createRevision)
    add("\(prefix)ModRevision", pair.modRevision)
    add("\(prefix)Version", pair.version)
    add("\(prefix)Value", quoted: pair.value)
    add("\(prefix)Lease", pair.lease)
  }
}
