/// What may stand for a key, a value or a name: text, which is sent as UTF-8, or bytes.
///
///     try await client.kv.put("greeting", "hello")
///     try await client.kv.put("picture", pictureBytes)
public protocol BytesConvertible {
  /// The bytes as they are sent.
  var bytes: [UInt8] { get }
}

extension String: BytesConvertible {
  public var bytes: [UInt8] { Array(utf8) }
}

extension Substring: BytesConvertible {
  public var bytes: [UInt8] { Array(utf8) }
}

extension [UInt8]: BytesConvertible {
  public var bytes: [UInt8] { self }
}

extension ArraySlice<UInt8>: BytesConvertible {
  public var bytes: [UInt8] { Array(self) }
}

extension [UInt8] {
  /// The bytes as text; what is not UTF-8 is replaced by U+FFFD.
  var text: String { String(decoding: self, as: UTF8.self) }

  /// The first key behind all keys that begin with these bytes; nil when there is none.
  var afterPrefix: [UInt8]? {
    guard let last = lastIndex(where: { $0 < 0xFF }) else { return nil }
    var end = Array(self[...last])
    end[last] += 1
    return end
  }
}
