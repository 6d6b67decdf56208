import Base
import Proto

/// A message that is nothing but its bytes: field 1 of it, so that it is protobuf too.
struct Blob: Message {
  var bytes: [UInt8] = []

  init() {}

  init(_ bytes: [UInt8]) {
    self.bytes = bytes
  }

  init(_ text: String) {
    bytes = [UInt8](text.utf8)
  }

  init(decoding bytes: UnsafeRawBufferPointer) throws(DecodeError) {
    self.bytes = [UInt8](bytes)
  }

  func encode(into writer: inout ByteWriter) {
    bytes.withUnsafeBytes { writer.append($0) }
  }

  var encodedSize: Int { bytes.count }
  var text: String { String(decoding: bytes, as: UTF8.self) }
  static var messageName: String { "test.Blob" }
}
