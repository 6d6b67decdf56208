/// Finds the ends of JSON values that stand one after the other in a text that comes in pieces. Says
/// nothing about whether they are right.
package struct JSONValueSplitter {
  private var text: [UInt8] = []
  /// Where the next value begins, or the space before it.
  private var start = 0
  /// Up to here the text was looked at.
  private var offset = 0
  private var depth = 0
  private var hasBegun = false
  private var isInString = false
  private var isEscaped = false

  package init() {}

  /// Bytes of a value that is not complete, and of those that were not taken.
  package var heldBytes: Int { text.count - start }

  package mutating func append(_ bytes: [UInt8]) {
    text.removeSubrange(..<start)
    offset -= start
    start = 0
    text.append(contentsOf: bytes)
  }

  /// The text of the next value that is complete; nil when there is none yet. A value that is no
  /// object, array or string is complete with the space behind it.
  package mutating func next() -> [UInt8]? {
    while offset < text.count {
      let byte = text[offset]
      let isSpace = byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D
      if isSpace, !hasBegun {
        offset += 1
        start = offset
        continue
      }
      if isSpace, depth == 0, !isInString { return take() }
      hasBegun = true
      offset += 1
      if endsValue(byte) { return take() }
    }
    return nil
  }

  /// What is left when nothing more will come; empty when that is nothing.
  package mutating func takeRest() -> [UInt8] {
    offset = text.count
    return take()
  }

  private mutating func endsValue(_ byte: UInt8) -> Bool {
    if isInString {
      if isEscaped {
        isEscaped = false
      } else if byte == UInt8(ascii: "\\") {
        isEscaped = true
      } else if byte == UInt8(ascii: "\"") {
        isInString = false
        return depth == 0
      }
      return false
    }
    switch byte {
    case UInt8(ascii: "\""):
      isInString = true
    case UInt8(ascii: "{"), UInt8(ascii: "["):
      depth += 1
    case UInt8(ascii: "}"), UInt8(ascii: "]"):
      depth = max(0, depth - 1)
      return depth == 0
    default:
      break
    }
    return false
  }

  private mutating func take() -> [UInt8] {
    let value = Array(text[start..<offset])
    start = offset
    (depth, hasBegun, isInString, isEscaped) = (0, false, false, false)
    return value
  }
}
