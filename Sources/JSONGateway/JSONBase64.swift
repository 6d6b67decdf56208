import Base

/// Base64 as JSON has it: written with the standard alphabet and padding, read with either alphabet,
/// padded or not, and with line breaks anywhere.
enum JSONBase64 {
  private static let digits = Array(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8
  )

  private static let invalid: UInt8 = 0xFF

  /// The value of each digit, `invalid` for all other bytes.
  private static let values: [UInt8] = {
    var values = [UInt8](repeating: invalid, count: 256)
    for (value, digit) in digits.enumerated() { values[Int(digit)] = UInt8(value) }
    values[Int(UInt8(ascii: "-"))] = 62
    values[Int(UInt8(ascii: "_"))] = 63
    return values
  }()

  static func append(_ bytes: UnsafeRawBufferPointer, to writer: inout ByteWriter) {
    let length = (bytes.count + 2) / 3 * 4
    let target = writer.reserve(length).assumingMemoryBound(to: UInt8.self)
    digits.withUnsafeBufferPointer { digits in
      var out = 0
      var index = 0
      while index < bytes.count {
        let left = bytes.count - index
        var bits = UInt32(bytes[index]) << 16
        if left > 1 { bits |= UInt32(bytes[index + 1]) << 8 }
        if left > 2 { bits |= UInt32(bytes[index + 2]) }
        target[out] = digits[Int(bits >> 18)]
        target[out + 1] = digits[Int(bits >> 12 & 63)]
        target[out + 2] = left > 1 ? digits[Int(bits >> 6 & 63)] : UInt8(ascii: "=")
        target[out + 3] = left > 2 ? digits[Int(bits & 63)] : UInt8(ascii: "=")
        index += 3
        out += 4
      }
    }
    writer.advance(by: length)
  }

  /// Appends the bytes that `text` stands for. Returns nil, or the place of the first byte that is
  /// wrong; then what was appended is of no use.
  static func decode(_ text: UnsafeRawBufferPointer, into writer: inout ByteWriter) -> Int? {
    let target = writer.reserve(text.count / 4 * 3 + 3).assumingMemoryBound(to: UInt8.self)
    var (length, bits, bitCount, digitCount, paddingCount) = (0, UInt32(0), 0, 0, 0)
    let wrong: Int? = values.withUnsafeBufferPointer { values in
      for place in 0..<text.count {
        let byte = text[place]
        if byte == UInt8(ascii: "\n") || byte == UInt8(ascii: "\r") { continue }
        if byte == UInt8(ascii: "=") {
          paddingCount += 1
          continue
        }
        let value = values[Int(byte)]
        guard value != invalid, paddingCount == 0 else { return place }
        bits = bits << 6 | UInt32(value)
        bitCount += 6
        digitCount += 1
        guard bitCount >= 8 else { continue }
        bitCount -= 8
        target[length] = UInt8(truncatingIfNeeded: bits >> UInt32(bitCount))
        length += 1
      }
      let isWhole = digitCount % 4 != 1
      let isPadded = paddingCount == 0 || (digitCount + paddingCount) % 4 == 0 && paddingCount < 3
      return isWhole && isPadded ? nil : text.count
    }
    writer.advance(by: length)
    return wrong
  }
}
