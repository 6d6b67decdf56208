package import Base

/// The encoding of `grpc-message`: printable ASCII as it is, every other byte and `%` as `%XX`.
package enum PercentCoding {
  /// Appends the encoded form of `text`.
  package static func encode(_ text: String, into writer: inout ByteWriter) {
    for byte in text.utf8 {
      if byte >= 0x20 && byte <= 0x7E && byte != percent {
        writer.append(byte: byte)
      } else {
        writer.append(byte: percent)
        writer.append(byte: hexDigit(byte >> 4))
        writer.append(byte: hexDigit(byte & 15))
      }
    }
  }

  /// The encoded form of `text`.
  package static func encode(_ text: String) -> String {
    var writer = ByteWriter(capacity: text.utf8.count + 16)
    encode(text, into: &writer)
    return String(decoding: writer.bytes, as: UTF8.self)
  }

  /// The text that `bytes` encode. A `%` without two hex digits stands for itself, and bytes that
  /// are not UTF-8 become replacement characters: a peer's error text is never an error itself.
  package static func decode(_ bytes: UnsafeRawBufferPointer) -> String {
    var plain: [UInt8] = []
    plain.reserveCapacity(bytes.count)
    var index = 0
    while index < bytes.count {
      if bytes[index] == percent, index + 2 < bytes.count,
        let high = hexValue(bytes[index + 1]), let low = hexValue(bytes[index + 2])
      {
        plain.append(high << 4 | low)
        index += 3
      } else {
        plain.append(bytes[index])
        index += 1
      }
    }
    return String(decoding: plain, as: UTF8.self)
  }

  private static let percent = UInt8(ascii: "%")

  private static func hexDigit(_ value: UInt8) -> UInt8 {
    value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "A") + value - 10
  }

  private static func hexValue(_ digit: UInt8) -> UInt8? {
    switch digit {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
    case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
    case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
    default: nil
    }
  }
}
