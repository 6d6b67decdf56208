/// What a proxy writes of itself below the resolver prefix, in the form of etcd's naming package:
/// `{"Op":0,"Addr":"host:port","Metadata":"{\"name\":\"host\"}"}`.
struct Registration: Hashable {
  let address: String
  let name: String

  init(address: String, name: String) {
    self.address = address
    self.name = name
  }

  var text: String {
    let metadata = #"{"name":\#(JSONString.quoted(name))}"#
    return
      #"{"Op":0,"Addr":\#(JSONString.quoted(address)),"Metadata":\#(JSONString.quoted(metadata))}"#
  }

  /// Reads what a proxy wrote, etcd's among them, whose metadata may be an object too. Nil when it has
  /// no address.
  init?(reading bytes: [UInt8]) {
    guard let address = JSONString.value(of: "Addr", in: bytes) else { return nil }
    self.address = address
    let metadata = JSONString.value(of: "Metadata", in: bytes).map { Array($0.utf8) } ?? bytes
    name = JSONString.value(of: "name", in: metadata) ?? ""
  }
}

/// The little of JSON that registrations need.
enum JSONString {
  static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\u{0}"..<" ":
        let hex = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }

  /// The text that the first member of this name has, outside of other texts. Nil when there is none.
  static func value(of name: String, in bytes: [UInt8]) -> String? {
    var place = 0
    var lastText: String?
    /// A colon has come since that text.
    var isValue = false
    while place < bytes.count {
      switch bytes[place] {
      case UInt8(ascii: "\""):
        guard let text = text(in: bytes, from: &place) else { return nil }
        if isValue, lastText == name { return text }
        lastText = isValue ? nil : text
        isValue = false
      case UInt8(ascii: ":"):
        isValue = true
        place += 1
      case UInt8(ascii: ","), UInt8(ascii: "{"), UInt8(ascii: "}"):
        isValue = false
        lastText = nil
        place += 1
      default: place += 1
      }
    }
    return nil
  }

  /// Reads a text at its opening quote, and moves behind it.
  private static func text(in bytes: [UInt8], from place: inout Int) -> String? {
    var result: [UInt8] = []
    place += 1
    while place < bytes.count {
      let byte = bytes[place]
      place += 1
      if byte == UInt8(ascii: "\"") { return String(decoding: result, as: UTF8.self) }
      guard byte == UInt8(ascii: "\\") else {
        result.append(byte)
        continue
      }
      guard place < bytes.count else { return nil }
      let escape = bytes[place]
      place += 1
      switch escape {
      case UInt8(ascii: "n"): result.append(10)
      case UInt8(ascii: "t"): result.append(9)
      case UInt8(ascii: "r"): result.append(13)
      case UInt8(ascii: "b"): result.append(8)
      case UInt8(ascii: "f"): result.append(12)
      case UInt8(ascii: "u"):
        let digits = bytes[place..<min(place + 4, bytes.count)]
        guard digits.count == 4,
          let value = UInt32(String(decoding: digits, as: UTF8.self), radix: 16)
        else { return nil }
        place += 4
        let scalar = Unicode.Scalar(value) ?? "\u{FFFD}"
        result += Array(String(Character(scalar)).utf8)
      default: result.append(escape)
      }
    }
    return nil
  }
}
