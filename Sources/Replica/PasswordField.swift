/// What stands in `hashedPassword` of requests in the log: base64 of the hash, because a proto
/// string holds text.
package enum PasswordField {
  private static let alphabet = Array(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8
  )

  /// The field's text for a hash.
  package static func text(of hash: [UInt8]) -> String {
    var text: [UInt8] = []
    for start in stride(from: 0, to: hash.count, by: 3) {
      let group = hash[start..<min(start + 3, hash.count)]
      var bits: UInt32 = 0
      for byte in group { bits = bits << 8 | UInt32(byte) }
      bits <<= UInt32(8 * (3 - group.count))
      for sextet in 0..<4 {
        let isPadding = sextet > group.count
        let index = Int(bits >> UInt32(18 - 6 * sextet) & 63)
        text.append(isPadding ? UInt8(ascii: "=") : alphabet[index])
      }
    }
    return String(decoding: text, as: UTF8.self)
  }

  /// The hash in the field; empty, which no password matches, when it is not base64.
  package static func hash(in text: String) -> [UInt8] {
    var bytes: [UInt8] = []
    var bits: UInt32 = 0
    var bitCount: UInt32 = 0
    for character in text.utf8 {
      if character == UInt8(ascii: "=") { break }
      guard let value = alphabet.firstIndex(of: character) else { return [] }
      bits = (bits << 6 | UInt32(value)) & 0xFFFF
      bitCount += 6
      if bitCount >= 8 {
        bitCount -= 8
        bytes.append(UInt8(truncatingIfNeeded: bits >> bitCount))
      }
    }
    return bytes
  }
}
