import Base
import Proto

/// A message of any type, still encoded: what the gateway's calls carry.
struct RawMessage: Message {
  var bytes: [UInt8] = []

  init() {}

  init(_ bytes: [UInt8]) {
    self.bytes = bytes
  }

  init(decoding bytes: UnsafeRawBufferPointer) throws(DecodeError) {
    self.bytes = [UInt8](bytes)
  }

  func encode(into writer: inout ByteWriter) {
    bytes.withUnsafeBytes { writer.append($0) }
  }

  var encodedSize: Int { bytes.count }

  static var messageName: String { "" }
}
