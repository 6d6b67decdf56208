/// One key, or a run of keys in the order of their bytes.
public struct KeyRange: Hashable, Sendable {
  let start: [UInt8]
  /// As on the wire: empty for one key, a zero byte for no end.
  let end: [UInt8]

  static let noEnd: [UInt8] = [0]

  /// One key.
  public static func key(_ key: some BytesConvertible) -> KeyRange {
    KeyRange(start: key.bytes, end: [])
  }

  /// All keys that begin with `prefix`.
  public static func prefix(_ prefix: some BytesConvertible) -> KeyRange {
    let bytes = prefix.bytes
    return bytes.isEmpty ? .all : KeyRange(start: bytes, end: bytes.afterPrefix ?? noEnd)
  }

  /// The keys from `start`, which is in it, to `end`, which is not.
  public static func range(
    from start: some BytesConvertible,
    to end: some BytesConvertible
  ) -> KeyRange {
    KeyRange(start: start.bytes, end: end.bytes)
  }

  /// `start` and all keys behind it.
  public static func from(_ start: some BytesConvertible) -> KeyRange {
    let bytes = start.bytes
    return KeyRange(start: bytes.isEmpty ? [0] : bytes, end: noEnd)
  }

  /// Every key.
  public static let all = KeyRange(start: [0], end: noEnd)

  /// The range as the server has it, in the namespace `prefix`.
  func within(_ prefix: [UInt8]) -> KeyRange {
    if prefix.isEmpty { return self }
    let end: [UInt8] =
      if self.end.isEmpty { [] } else if self.end == Self.noEnd {
        prefix.afterPrefix ?? Self.noEnd
      } else { prefix + self.end }
    return KeyRange(start: prefix + start, end: end)
  }

  /// What lies behind `key` in this range, which must not be a single key.
  func after(_ key: [UInt8]) -> KeyRange {
    KeyRange(start: key + [0], end: end)
  }
}

/// What of a range is read, and how.
public struct RangeOptions: Hashable, Sendable {
  /// How many keys at most; 0 all.
  public var limit: Int64
  /// The revision at which to read; 0 the newest. Throws `compacted` when it is gone, and
  /// `futureRevision`.
  public var revision: Int64
  public var order: Order?
  /// Reads what the asked member has, without asking the others: quicker, and possibly old.
  public var isSerializable: Bool
  /// Leaves the values out.
  public var keysOnly: Bool
  /// Only keys whose last change, or creation, lies between these revisions; 0 is no bound.
  public var modRevisions: (min: Int64, max: Int64) {
    get { (minModRevision, maxModRevision) }
    set { (minModRevision, maxModRevision) = newValue }
  }
  public var createRevisions: (min: Int64, max: Int64) {
    get { (minCreateRevision, maxCreateRevision) }
    set { (minCreateRevision, maxCreateRevision) = newValue }
  }
  var minModRevision: Int64 = 0
  var maxModRevision: Int64 = 0
  var minCreateRevision: Int64 = 0
  var maxCreateRevision: Int64 = 0

  public init(
    limit: Int64 = 0,
    revision: Int64 = 0,
    order: Order? = nil,
    isSerializable: Bool = false,
    keysOnly: Bool = false
  ) {
    self.limit = limit
    self.revision = revision
    self.order = order
    self.isSerializable = isSerializable
    self.keysOnly = keysOnly
  }

  /// The order of what is returned. Without one it is that of the keys.
  public enum Order: Hashable, Sendable {
    case ascending(Field)
    case descending(Field)
  }

  public enum Field: Hashable, Sendable {
    case key, version, createRevision, modRevision, value
  }
}
