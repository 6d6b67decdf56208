import BoltFile
import Testing

@Suite struct ReaderTests {
  private let directory = TemporaryDirectory()

  private func open(_ bytes: [UInt8]) throws -> BoltFile {
    try BoltFile(path: try directory.write(bytes, to: "file.db"))
  }

  /// What reading all of a file ends with.
  private func error(_ bytes: [UInt8]) throws -> BoltError? {
    do {
      let file = try open(bytes)
      try file.check()
      _ = try contents(of: file)
      return nil
    } catch let error as BoltError {
      return error
    }
  }

  /// Writes a number, little endian.
  private func set<Number: FixedWidthInteger>(
    _ bytes: inout [UInt8],
    _ offset: Int,
    _ number: Number
  ) {
    withUnsafeBytes(of: number.littleEndian) {
      bytes.replaceSubrange(offset..<offset + $0.count, with: $0)
    }
  }

  private func number(_ bytes: [UInt8], _ offset: Int) -> UInt64 {
    (0..<8).reversed().reduce(0) { $0 << 8 | UInt64(bytes[offset + $1]) }
  }

  /// The newer meta page's place, and a page of each kind.
  private func place(_ bytes: [UInt8], flags: UInt8) -> Int? {
    stride(from: 2 * 4096, to: bytes.count, by: 4096).first { offset in
      bytes[offset + 8] == flags && bytes[offset + 10] > 0
        && number(bytes, offset) == UInt64(offset / 4096)
    }
  }

  @Test func aFileOfEtcdsIsRead() throws {
    let file = try BoltFile(path: RealFile.path, sizeBytes: RealFile.databaseBytes)
    try file.check()
    let all = try contents(of: file)
    #expect(
      all.keys.sorted() == [
        "alarm", "auth", "authRoles", "authUsers", "cluster", "key", "lease", "members",
        "members_removed", "meta",
      ]
    )
    #expect(all.values.reduce(0) { $0 + $1.count } == RealFile.recordCount)
    #expect(all["key"]?.allSatisfy { $0.key.count == 17 || $0.key.count == 18 } == true)
    #expect(all["lease"]?.count == 1)
    #expect(all["authUsers"]?.map(\.key) == [Array("root".utf8), Array("u1".utf8)])
  }

  @Test func theSecondMetaPageCountsWhenTheFirstIsDamaged() throws {
    let whole = try RealFile.bytes()
    let expected = try contents(of: try open(whole))
    for page in 0..<2 {
      var bytes = whole
      bytes[page * 4096 + 40] ^= 1
      #expect(try contents(of: try open(bytes)).keys == expected.keys, "meta page \(page)")
    }
    var bytes = whole
    bytes[40] ^= 1
    bytes[4096 + 40] ^= 1
    #expect(
      try error(bytes)
        == .damaged(page: 0, reason: "the checksum of neither meta page holds")
    )
  }

  @Test func otherFilesAreToldApart() throws {
    #expect(try error([]) == .notBolt(reason: "the file is empty"))
    let foreign = BoltError.notBolt(
      reason: "not a database file of etcd (bbolt): neither meta page has its mark"
    )
    #expect(try error(Array("no database".utf8)) == foreign)
    #expect(try error([UInt8](repeating: 0, count: 100_000)) == foreign)
    #expect(throws: BoltError.self) { try BoltFile(path: directory.file("absent")) }
    #expect(throws: BoltError.self) { try BoltFile(path: directory.path) }
  }

  @Test(arguments: [1, 79, 80, 4095, 4096, 5000, 8192, 40_000, 90_111])
  func aFileThatIsCutShortIsRefused(length: Int) throws {
    let bytes = Array(try RealFile.bytes()[..<length])
    let error = try #require(try error(bytes))
    let expected = length < 80 ? "neither meta page" : "the file was cut short"
    #expect(error.description.contains(expected), "\(error)")
  }

  @Test func aPageThatLeadsToItselfIsRefused() throws {
    var bytes = try RealFile.bytes()
    let branch = try #require(place(bytes, flags: 1))
    let page = UInt64(branch / 4096)
    set(&bytes, branch + 16 + 8, page)
    #expect(try error(bytes) == .damaged(page: page, reason: "the tree leads back to it"))
  }

  @Test func damagedPagesAreNamed() throws {
    let whole = try RealFile.bytes()
    let leaf = try #require(place(whole, flags: 2))
    let page = UInt64(leaf / 4096)
    var bytes = whole
    set(&bytes, leaf, UInt64(77))
    #expect(try error(bytes) == .damaged(page: page, reason: "it says that it is page 77"))
    bytes = whole
    set(&bytes, leaf + 8, UInt16(3))
    #expect(try error(bytes) == .damaged(page: page, reason: "no page of a tree (flags 3)"))
    bytes = whole
    set(&bytes, leaf + 12, UInt32(1000))
    #expect(
      try error(bytes) == .damaged(page: page, reason: "its run of 1001 pages leaves the file")
    )
    bytes = whole
    set(&bytes, leaf + 10, UInt16(0xFFFF))
    #expect(try error(bytes) == .damaged(page: page, reason: "65535 elements do not fit in"))
    bytes = whole
    set(&bytes, leaf + 16 + 4, UInt32.max)
    #expect(
      try error(bytes)
        == .damaged(page: page, reason: "element 0 does not lie in its place in the page")
    )
    // Elements that share their data could make a small file endless.
    bytes = whole
    let position = UInt32(truncatingIfNeeded: number(whole, leaf + 32 + 4))
    set(&bytes, leaf + 32 + 4, position - 1)
    #expect(
      try error(bytes)
        == .damaged(page: page, reason: "element 1 does not lie in its place in the page")
    )
  }

  /// Whatever bytes are changed, reading ends, with all of the content or with an error; and what is
  /// read of a file that passes lies within it.
  @Test(arguments: 0..<8)
  func mutationsEndInContentOrError(seed: UInt64) throws {
    let whole = try RealFile.bytes()
    var numbers = SeededNumbers(seed: seed)
    var refused = 0
    for _ in 0..<120 {
      var bytes = whole
      for _ in 0..<Int.random(in: 1...6, using: &numbers) { mutate(&bytes, &numbers) }
      repairMeta(&bytes)
      if try error(bytes) != nil { refused += 1 }
    }
    #expect(refused > 20, "only \(refused) of 120 were refused")
  }

  private func mutate(_ bytes: inout [UInt8], _ numbers: inout SeededNumbers) {
    let page = Int.random(in: 0..<bytes.count / 4096, using: &numbers) * 4096
    switch Int.random(in: 0..<6, using: &numbers) {
    case 0:
      bytes[Int.random(in: 0..<bytes.count, using: &numbers)] = .random(
        in: 0...255,
        using: &numbers
      )
    case 1:
      bytes[page + Int.random(in: 0..<16, using: &numbers)] = .random(in: 0...255, using: &numbers)
    case 2:
      let offset = page + 16 + 4 * Int.random(in: 0..<64, using: &numbers)
      set(&bytes, offset, UInt32.random(in: 0...(1 << 14), using: &numbers))
    case 3:
      let other = Int.random(in: 0..<bytes.count / 4096, using: &numbers) * 4096
      bytes.replaceSubrange(page..<page + 4096, with: Array(bytes[other..<other + 4096]))
      set(&bytes, page, UInt64(page / 4096))
    case 4:
      let offset = page + 16 + 8 * Int.random(in: 0..<64, using: &numbers)
      set(&bytes, offset, UInt64.random(in: 0..<30, using: &numbers))
    default:
      let meta = Int.random(in: 0..<2, using: &numbers) * 4096
      set(
        &bytes,
        meta + 16 + 16 + 8 * Int.random(in: 0..<5, using: &numbers),
        UInt64.random(in: 0..<40, using: &numbers)
      )
    }
  }

  /// Gives changed meta pages a checksum that holds, so that what they say is looked at.
  private func repairMeta(_ bytes: inout [UInt8]) {
    for meta in [16, 4096 + 16] {
      var hash: UInt64 = 0xcbf2_9ce4_8422_2325
      for byte in bytes[meta..<meta + 56] { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
      set(&bytes, meta + 56, hash)
    }
  }
}
