/// The part of the key space that the proxy's clients see as the whole of it: the keys that begin with
/// a prefix. Empty: all of it.
struct Namespace: Sendable {
  let prefix: [UInt8]
  /// The first key behind the namespace; `[0]`, which stands for no end, when there is none.
  let end: [UInt8]

  init(_ prefix: [UInt8]) {
    self.prefix = prefix
    var end = prefix
    while end.last == UInt8.max { end.removeLast() }
    if end.isEmpty {
      end = [0]
    } else {
      end[end.count - 1] += 1
    }
    self.end = end
  }

  var isEmpty: Bool { prefix.isEmpty }

  /// A client's key as the servers know it. No key stays none, for the server to refuse.
  func inward(_ key: [UInt8]) -> [UInt8] {
    key.isEmpty ? key : prefix + key
  }

  /// A client's range end as the servers know it: `[0]`, all keys from the first one, ends with the
  /// namespace.
  func inward(rangeEnd: [UInt8]) -> [UInt8] {
    if rangeEnd.isEmpty { return [] }
    return rangeEnd == [0] ? end : prefix + rangeEnd
  }

  /// A server's key as the clients know it.
  func outward(_ key: [UInt8]) -> [UInt8] {
    contains(key) ? Array(key.dropFirst(prefix.count)) : key
  }

  func contains(_ key: [UInt8]) -> Bool { key.starts(with: prefix) }
}
