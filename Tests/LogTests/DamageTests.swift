import Base
import Log
import Testing

/// Damage to files, bit by bit and byte by byte: invariant D1.
@Suite struct DamageTests {
  /// A log of three synced batches in one segment, closed.
  private func threeBatches(seed: UInt64) throws -> SimulatedFileSystem {
    let files = SimulatedFileSystem(seed: seed)
    let (log, _) = try openLog(files)
    try log.write([entry(1, "one")], hardState(1, 1, 0))
    try log.write([entry(2, "two"), entry(3, "three")])
    try log.write([entry(4, "four")], hardState(1, 1, 3))
    return files
  }

  @Test func aFrameTornAtEveryByteIsCut() throws {
    let files = try threeBatches(seed: 1)
    let path = segmentPath(1)
    let whole = try #require(files.content(path))
    let last = try #require(try frameOffsets(files).last)
    // The last batch ends with its hard state; what follows is zeros.
    let end = try #require(whole.lastIndex { $0 != 0 }) + 1
    for kept in last...end {
      for filler in [UInt8(0), 0xff] {
        let torn = files.copy()
        torn.restart()
        let rest = [UInt8](repeating: filler, count: whole.count - kept)
        torn.setContent(path, Array(whole[..<kept]) + rest)
        let (log, recovered) = try openLog(torn)
        let isWhole = kept == end
        #expect(
          recovered.entries.count == (isWhole ? 4 : 3),
          "kept \(kept - last), filler \(filler)"
        )
        #expect(recovered.hardState == (isWhole ? hardState(1, 1, 3) : hardState(1, 1, 0)))
        try log.write([entry(log.lastIndex.rawValue + 1, "after")])
        torn.restart()
        let (_, again) = try openLog(torn)
        #expect(again.entries.count == recovered.entries.count + 1)
      }
    }
  }

  /// A closed log whose last segment, a file written over several times, has a few synced batches,
  /// and behind them whole frames of its earlier lives.
  private struct Recycled {
    let files: SimulatedFileSystem
    let path: String
    /// Where the last segment's frames start, and where the last of them ends.
    let offsets: [Int]
    let end: Int
    /// The last entry.
    let lastIndex: UInt64
    /// Whether a frame of an earlier life begins just where the last segment's frames end. (The
    /// nonces of the first frames take more or less room.)
    let isAligned: Bool

    /// The first that is aligned. Others of another `shift` have other content in the same form.
    static func aligned(shift: Int) throws -> Recycled {
      for seed in UInt64(0)..<100 {
        let sample = try Recycled(seed: seed, shift: shift)
        if sample.isAligned { return sample }
      }
      throw LogDamage.frame
    }

    private init(seed: UInt64, shift: Int) throws {
      files = SimulatedFileSystem(seed: seed)
      let (log, _) = try openLog(files)
      var index: UInt64 = 0
      let lives = 6
      for life in 1...lives {
        // The first does not fit in what the life before has left.
        let lengths = [2100, 3, 50, 4] + (life < lives ? [3, 4, 60, 500] : [])
        for length in lengths {
          index += 1
          let text = String(repeating: String((life + shift) % 10), count: length)
          try log.write([entry(index, text)], hardState(1, 1, index))
        }
        guard life < lives else { break }
        try log.write([], nil, mark(index))
        log.release(through: LogIndex(index))
        try log.preparer.prepare()
      }
      lastIndex = index
      path = segmentPath(lives)
      offsets = try frameOffsets(files, lives)
      let bytes = try #require(files.content(path))
      let last = try #require(offsets.last)
      end = last + 32 + payloadBytes(bytes, at: last)
      let names = try files.list(directory)
      try #require(offsets.count == 5 && names.count <= 4)
      let next = (end + 7) / 8 * 8
      isAligned = Array(bytes[next..<next + 4]) == Array("MLFR".utf8)
    }
  }

  @Test func aFrameTornOverStaleOnesIsCut() throws {
    let sample = try Recycled.aligned(shift: 0)
    let whole = try #require(sample.files.content(sample.path))
    let last = try #require(sample.offsets.last)
    // What another life left at the same place.
    let other = try Recycled.aligned(shift: 1)
    let stale = try #require(other.files.content(sample.path))
    #expect(other.offsets == sample.offsets)
    for kept in last...sample.end {
      let torn = sample.files.copy()
      torn.restart()
      torn.setContent(sample.path, Array(whole[..<kept]) + Array(stale[kept...]))
      let (log, recovered) = try openLog(torn)
      // The last bytes are the same in both.
      let isWhole = whole[kept..<sample.end] == stale[kept..<sample.end]
      #expect(recovered.lastIndex.rawValue == sample.lastIndex - (isWhole ? 0 : 1), "\(kept)")
      #expect(!isWhole || kept > last + 32)
      try log.write([entry(log.lastIndex.rawValue + 1, "after")])
      torn.restart()
      #expect(try openLog(torn).recovered.lastIndex == log.lastIndex)
    }
  }

  @Test func oneFlippedBitInARecycledSegment() throws {
    let sample = try Recycled.aligned(shift: 0)
    let whole = try #require(sample.files.content(sample.path))
    let last = try #require(sample.offsets.last)
    for offset in Array(0..<40) + Array(sample.offsets[1] - 8..<whole.count) {
      let flipped = sample.files.copy()
      flipped.restart()
      flipped.flip(bit: offset % 8, of: sample.path, at: offset)
      let isContent =
        sample.offsets.last { $0 <= offset }.map {
          offset < $0 + 32 + payloadBytes(whole, at: $0)
        } ?? (offset < 36)
      do {
        let (_, recovered) = try openLog(flipped)
        let isCut = offset >= last && offset < sample.end
        #expect(!isContent || isCut, "\(offset) went unnoticed")
        #expect(recovered.lastIndex.rawValue == sample.lastIndex - (isCut ? 1 : 0), "\(offset)")
      } catch {
        let frame = sample.offsets.last { $0 <= offset }
        let damage = frame == nil ? LogDamage.segmentHeader : .frame
        #expect(error == .damaged(file: sample.path, offset: frame ?? 0, damage), "\(offset)")
        #expect(isContent && offset < last, "\(offset) refused")
      }
    }
  }

  @Test func aFileThatWasCutShortIsRefused() throws {
    let files = try threeBatches(seed: 2)
    let path = segmentPath(1)
    let whole = try #require(files.content(path))
    let last = try #require(try frameOffsets(files).last)
    for length in [36, framesStart, last, last + 1, last + 40, whole.count - 1] {
      let cut = files.copy()
      cut.restart()
      cut.setContent(path, Array(whole[..<length]))
      #expect(throws: LogError.damaged(file: path, offset: length, .cutShort)) {
        _ = try openLog(cut)
      }
    }
    files.setContent(path, Array(whole[..<35]))
    #expect(throws: LogError.damaged(file: path, offset: 0, .segmentHeader)) {
      _ = try openLog(files)
    }
  }

  @Test func oneFlippedBitAnywhere() throws {
    let files = try threeBatches(seed: 3)
    let path = segmentPath(1)
    let whole = try #require(files.content(path))
    let offsets = try frameOffsets(files)
    let last = try #require(offsets.last)
    let end = try #require(whole.lastIndex { $0 != 0 }) + 1
    var places = Array(0..<40)
    places += Array(framesStart..<end + 16)
    for offset in places {
      for bit in 0..<8 {
        let flipped = files.copy()
        flipped.restart()
        flipped.flip(bit: bit, of: path, at: offset)
        check(flipped, offset: offset, bit: bit, offsets: offsets, last: last, end: end)
      }
    }
  }

  private func check(
    _ files: SimulatedFileSystem,
    offset: Int,
    bit: Int,
    offsets: [Int],
    last: Int,
    end: Int
  ) {
    let path = segmentPath(1)
    let place = "bit \(bit) of \(offset)"
    do {
      let (_, recovered) = try openLog(files)
      if offset >= last {
        let expected = offset < end ? 3 : 4
        #expect(recovered.entries.count == expected, "\(place)")
      } else {
        // Bytes that mean nothing: behind the header, and the padding of a frame.
        #expect(recovered.entries.count == 4, "\(place)")
        #expect(offset >= 36 && !isContent(files, offset, offsets), "\(place) went unnoticed")
      }
    } catch {
      guard case .damaged(let file, let at, let damage) = error else {
        Issue.record("\(place): \(error)")
        return
      }
      #expect(file == path, "\(place)")
      if offset < framesStart {
        #expect(damage == .segmentHeader && at == 0, "\(place)")
      } else {
        #expect(damage == .frame && at == offsets.last { $0 <= offset }, "\(place)")
        #expect(offset < last, "\(place) refused")
      }
    }
  }

  /// Whether the byte is in a frame's header or payload, not in its padding.
  private func isContent(_ files: SimulatedFileSystem, _ offset: Int, _ offsets: [Int]) -> Bool {
    guard let frame = offsets.last(where: { $0 <= offset }),
      let bytes = files.content(segmentPath(1))
    else { return false }
    return offset < frame + 32 + payloadBytes(bytes, at: frame)
  }

  @Test func damageAtTheEndOfAnEarlierSegmentIsRefused() throws {
    let files = SimulatedFileSystem(seed: 4)
    do {
      let (log, _) = try openLog(files)
      for index in 1...UInt64(8) {
        try log.write([entry(index, String(repeating: "z", count: 1000))])
      }
      #expect(log.segmentCount > 2)
    }
    let last = try #require(try frameOffsets(files, 1).last)
    files.flip(bit: 3, of: segmentPath(1), at: last + 40)
    #expect(throws: LogError.damaged(file: segmentPath(1), offset: last, .frame)) {
      _ = try openLog(files)
    }
  }

  @Test func damageAtTheStartOfTheLastSegmentIsRefused() throws {
    for place in [2, 30, 40] {
      let files = SimulatedFileSystem(seed: 5)
      do {
        let (log, _) = try openLog(files)
        for index in 1...UInt64(6) {
          try log.write([entry(index, String(repeating: "z", count: 1000))])
        }
        #expect(log.segmentCount == 2)
      }
      files.flip(bit: 3, of: segmentPath(2), at: framesStart + place)
      #expect(throws: LogError.damaged(file: segmentPath(2), offset: framesStart, .frame)) {
        _ = try openLog(files)
      }
    }
  }

  @Test func aMissingSegmentIsRefused() throws {
    let files = SimulatedFileSystem(seed: 6)
    do {
      let (log, _) = try openLog(files)
      for index in 1...UInt64(20) {
        try log.write([entry(index, String(repeating: "z", count: 1000))])
      }
      #expect(log.segmentCount > 4)
    }
    try files.remove(segmentPath(3))
    #expect(throws: LogError.damaged(file: segmentPath(4), offset: framesStart, .missingEntries)) {
      _ = try openLog(files)
    }
  }

  @Test func batchesCutOffDoNotComeBack() throws {
    // Two unsynced batches of which only the second reaches the disk; then a batch of the first
    // one's size takes its place, and the second must not be read behind it.
    let files = SimulatedFileSystem(seed: 7)
    let path = segmentPath(1)
    do {
      let (log, _) = try openLog(files)
      try log.write([entry(1, "aaaa")])
      try log.append(batch([entry(2, "bbbb")]))
      try log.append(batch([entry(3, "cccc")]))
    }
    let offsets = try frameOffsets(files)
    #expect(offsets.count == 4)
    files.restart()
    files.flip(bit: 0, of: path, at: offsets[2] + 3)
    for _ in 1...3 {
      let (log, recovered) = try openLog(files)
      #expect(!recovered.entries.contains(entry(3, "cccc")))
      try log.write([entry(log.lastIndex.rawValue + 1, "BBBB")])
      files.restart()
    }
    let (_, recovered) = try openLog(files)
    #expect(recovered.entries.map(\.index.rawValue) == [1, 2, 3, 4])
  }

  @Test(arguments: 0..<400)
  func randomBytesNeverCrashOpen(seed: UInt64) throws {
    var random = TestNumbers(seed)
    let files = SimulatedFileSystem(seed: seed)
    if seed % 2 == 0 {
      let (log, _) = try openLog(files)
      for index in 1...UInt64(9) { try log.write([entry(index, "abcdefgh")]) }
    }
    files.restart()
    let path = segmentPath(1)
    var bytes = files.content(path) ?? [UInt8](repeating: 0, count: 8192)
    let start = seed % 4 == 0 ? framesStart : Int.random(in: 0..<5000, using: &random)
    let count = Int.random(in: 1...400, using: &random)
    for offset in start..<min(start + count, bytes.count) {
      bytes[offset] = UInt8.random(in: 0...255, using: &random)
    }
    files.setContent(path, bytes)
    do {
      let (log, recovered) = try openLog(files)
      #expect(recovered.entries.count <= 9, "seed \(seed)")
      try log.write([entry(recovered.lastIndex.rawValue + 1)])
    } catch {
      guard case .damaged(let file, let offset, _) = error else { throw error }
      #expect(file == path && offset < bytes.count, "seed \(seed)")
    }
  }
}

/// What the header of a frame says of its length.
private func payloadBytes(_ bytes: [UInt8], at frame: Int) -> Int {
  bytes[frame + 4..<frame + 8].reversed().reduce(0) { $0 << 8 | Int($1) }
}
