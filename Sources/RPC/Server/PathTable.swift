/// Finds a method by the bytes of its path, without making a string of them.
package struct PathTable {
  private struct Entry {
    var hash: UInt64
    var path: [UInt8]
    var method: Int
  }

  private var entries: ContiguousArray<Entry> = []
  // Open addressing: index into `entries` plus one, 0 for an empty place.
  private var places = ContiguousArray<Int32>(repeating: 0, count: 16)

  package init() {}

  /// How many paths there are.
  package var count: Int { entries.count }

  /// Adds a path, which must be new.
  package mutating func insert(_ path: String, method: Int) {
    let bytes = [UInt8](path.utf8)
    precondition(bytes.withUnsafeBytes { find($0) } == nil, "\(path) is registered twice")
    entries.append(
      Entry(hash: bytes.withUnsafeBytes { Self.hash($0) }, path: bytes, method: method)
    )
    // At most half full, so that a probe is short and always ends.
    if entries.count * 2 > places.count {
      places = ContiguousArray(repeating: 0, count: places.count * 2)
      for index in entries.indices { place(index) }
    } else {
      place(entries.count - 1)
    }
  }

  /// The method with this path.
  package func find(_ path: UnsafeRawBufferPointer) -> Int? {
    let hash = Self.hash(path)
    var place = Int(truncatingIfNeeded: hash) & (places.count - 1)
    while true {
      let number = places[place]
      guard number > 0 else { return nil }
      let index = Int(number) - 1
      if entries[index].hash == hash,
        entries[index].path.withUnsafeBytes({ $0.isEqual(to: path) })
      {
        return entries[index].method
      }
      place = (place + 1) & (places.count - 1)
    }
  }

  private mutating func place(_ index: Int) {
    var place = Int(truncatingIfNeeded: entries[index].hash) & (places.count - 1)
    while places[place] != 0 { place = (place + 1) & (places.count - 1) }
    places[place] = Int32(index + 1)
  }

  /// Mixes eight bytes at a time. The table holds only our own paths, so nobody gains by choosing
  /// paths that collide.
  private static func hash(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
    var hash = UInt64(bytes.count) &* 0x9E37_79B9_7F4A_7C15
    var offset = 0
    while offset + 8 <= bytes.count {
      hash = mix(hash ^ bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
      offset += 8
    }
    while offset < bytes.count {
      hash = mix(hash ^ UInt64(bytes[offset]))
      offset += 1
    }
    return hash
  }

  private static func mix(_ value: UInt64) -> UInt64 {
    let product = value &* 0xD6E8_FEB8_6659_FD93
    return product ^ product >> 32
  }
}
