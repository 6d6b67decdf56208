import Glibc

/// Texts that are bytes: arguments, keys and values need not be UTF-8, and lose nothing as a `String`.
///
/// A byte that belongs to no character stands as U+10FF00 plus its value. So do the bytes of the
/// characters U+10FF80 to U+10FFFF themselves, so that every text means one run of bytes only.
enum RawText {
  private static let base: UInt32 = 0x10_FF00

  private static func isEscape(_ scalar: Unicode.Scalar) -> Bool { scalar.value >= base + 0x80 }

  static func text(_ bytes: [UInt8]) -> String {
    if let text = String(validating: bytes, as: UTF8.self),
      !text.unicodeScalars.contains(where: isEscape)
    {
      return text
    }
    var scalars = String.UnicodeScalarView()
    var index = 0
    while index < bytes.count {
      if let (scalar, length) = GoText.scalar(bytes, at: index), !isEscape(scalar) {
        scalars.append(scalar)
        index += length
      } else {
        // Within the range: it ends at U+10FFFF.
        if let scalar = Unicode.Scalar(base + UInt32(bytes[index])) { scalars.append(scalar) }
        index += 1
      }
    }
    return String(scalars)
  }

  static func bytes(_ text: some StringProtocol) -> [UInt8] {
    guard text.unicodeScalars.contains(where: isEscape) else { return Array(text.utf8) }
    return text.unicodeScalars.flatMap { scalar -> [UInt8] in
      isEscape(scalar) ? [UInt8(scalar.value - base)] : Array(String(scalar).utf8)
    }
  }

  /// The bytes with a zero behind them, to be freed by the caller.
  static func copy(_ text: String) -> UnsafeMutablePointer<CChar>? {
    (bytes(text).map { CChar(bitPattern: $0) } + [0]).withUnsafeBufferPointer {
      $0.baseAddress.flatMap { strdup($0) }
    }
  }

  /// A text that ends with a zero.
  static func text(_ cString: UnsafePointer<CChar>) -> String {
    text(UnsafeBufferPointer(start: cString, count: strlen(cString)).map { UInt8(bitPattern: $0) })
  }
}
