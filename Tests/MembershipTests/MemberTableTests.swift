import Base
import Membership
import Testing

private func member(_ id: UInt64, learner: Bool = false, name: String = "") -> Member {
  Member(id: MemberID(id), name: name, peerURLs: ["http://h\(id):1"], isLearner: learner)
}

private func table(_ members: Member...) throws -> MemberTable {
  var table = MemberTable(clusterID: ClusterID(7))
  for member in members { try table.add(member) }
  return table
}

@Suite("Member table")
struct MemberTableTests {
  @Test("members are found by ID and name, in ascending order")
  func add() throws {
    let table = try table(member(9), member(2, name: "b"), member(5, learner: true))
    #expect(table.members.map(\.id.rawValue) == [2, 5, 9])
    #expect(table[MemberID(5)]?.isLearner == true)
    #expect(table[MemberID(3)] == nil)
    #expect(table.member(named: "b")?.id == MemberID(2))
    #expect(table.member(named: "") == nil)
    #expect(table.voters.map(\.id.rawValue) == [2, 9])
    #expect(table.learners.map(\.id.rawValue) == [5])
  }

  @Test("a removed ID never comes back, in no way")
  func removed() throws {
    var table = try table(member(1), member(2, learner: true))
    try table.remove(MemberID(2))
    #expect(table.isRemoved(MemberID(2)))
    let before = table
    let error = MembershipError.removed(MemberID(2))
    #expect(throws: error) { try table.add(member(2)) }
    #expect(throws: error) { try table.remove(MemberID(2)) }
    #expect(throws: error) { try table.update(MemberID(2), peerURLs: ["http://x:1"]) }
    #expect(throws: error) { try table.promote(MemberID(2)) }
    #expect(throws: error) { try table.setAttributes(MemberID(2), name: "n", clientURLs: []) }
    #expect(table == before)
    try table.add(
      Member(id: MemberID(3), peerURLs: ["http://h2:1"])
    )
  }

  @Test("what is refused leaves the table as it was")
  func refusals() throws {
    var table = try table(member(1), member(2))
    let before = table
    let many = (0...MemberTable.urlCountMax).map { "http://a:\($0)" }
    #expect(throws: MembershipError.idExists(MemberID(1))) { try table.add(member(1)) }
    #expect(throws: MembershipError.peerURLExists("http://h1:1")) {
      try table.add(Member(id: MemberID(3), peerURLs: ["http://x:1", "http://h1:1"]))
    }
    #expect(throws: MembershipError.badPeerURLs) {
      try table.add(Member(id: MemberID(3), peerURLs: []))
    }
    #expect(throws: MembershipError.badPeerURLs) {
      try table.add(Member(id: MemberID(3), peerURLs: ["http://x:1/path"]))
    }
    #expect(throws: MembershipError.badPeerURLs) { try table.update(MemberID(1), peerURLs: many) }
    #expect(throws: MembershipError.notFound(MemberID(3))) { try table.remove(MemberID(3)) }
    #expect(throws: MembershipError.notFound(MemberID(3))) { try table.promote(MemberID(3)) }
    #expect(throws: MembershipError.notLearner(MemberID(1))) { try table.promote(MemberID(1)) }
    #expect(throws: MembershipError.peerURLExists("http://h2:1")) {
      try table.update(MemberID(1), peerURLs: ["http://h2:1"])
    }
    #expect(throws: MembershipError.tooManyClientURLs) {
      try table.setAttributes(MemberID(1), name: "a", clientURLs: many)
    }
    #expect(table == before)
  }

  @Test("an update keeps name, client URLs and the learner flag")
  func update() throws {
    var table = try table(member(1), member(2, learner: true))
    try table.setAttributes(MemberID(2), name: "b", clientURLs: ["http://c:2", "http://c:1"])
    try table.update(MemberID(2), peerURLs: ["http://z:1", "http://h2:1"])
    let updated = try #require(table[MemberID(2)])
    #expect(updated.isLearner)
    #expect(updated.isStarted)
    #expect(updated.peerURLs == ["http://h2:1", "http://z:1"])
    #expect(updated.clientURLs == ["http://c:2", "http://c:1"])
    try table.promote(MemberID(2))
    #expect(table[MemberID(2)]?.isLearner == false)
  }

  /// Started voters, voters not started; may one be added, a started one go, one not started go?
  @Test(
    "strict reconfiguration",
    arguments: [
      (1, 0, true, false, true), (1, 1, false, false, true), (2, 0, true, true, true),
      (2, 1, false, false, true), (3, 0, true, true, true), (2, 2, false, false, true),
      (3, 2, false, false, true),
    ]
  )
  func strict(started: Int, fresh: Int, add: Bool, removeStarted: Bool, removeFresh: Bool) throws {
    var table = MemberTable(clusterID: ClusterID(1))
    for id in 1...started { try table.add(member(UInt64(id), name: "m\(id)")) }
    for id in 0..<fresh { try table.add(member(UInt64(100 + id))) }
    #expect(table.allowsAddingVoter == add)
    #expect(table.allowsRemoving(MemberID(1)) == removeStarted)
    if fresh > 0 { #expect(table.allowsRemoving(MemberID(100)) == removeFresh) }
    try table.add(member(200, learner: true))
    #expect(table.allowsRemoving(MemberID(200)))
    #expect(table.allowsAddingVoter == add, "a learner does not count")
  }

  @Test("a started learner may become the second voter, one not started not")
  func promotion() throws {
    var table = try table(member(1, name: "a"), member(2, learner: true))
    #expect(!table.allowsPromoting(MemberID(2)))
    try table.setAttributes(MemberID(2), name: "b", clientURLs: [])
    #expect(table.allowsPromoting(MemberID(2)))
  }
}

@Suite("Member table: bytes")
struct MemberTableEncodingTests {
  private func sample() throws -> MemberTable {
    var table = try table(
      member(.max, name: "last"),
      member(2, learner: true),
      member(3, name: "h\u{f6}")
    )
    try table.setAttributes(MemberID(3), name: "h\u{f6}", clientURLs: ["http://c:1"])
    try table.add(member(4))
    try table.remove(MemberID(4))
    return table
  }

  @Test("comes back equal; equal tables have equal bytes")
  func roundTrip() throws {
    let table = try sample()
    #expect(try MemberTable(decoding: table.encoded()) == table)
    let empty = MemberTable(clusterID: ClusterID(0))
    #expect(try MemberTable(decoding: empty.encoded()) == empty)
    var left = try MembershipTests.table(member(1), member(2))
    var right = try MembershipTests.table(member(2), member(1))
    try left.remove(MemberID(1))
    try right.remove(MemberID(1))
    #expect(left.encoded() == right.encoded())
  }

  @Test("the bytes are as documented")
  func golden() throws {
    var table = try MembershipTests.table(member(2, learner: true, name: "n"), member(5))
    try table.remove(MemberID(5))
    let url = Array("http://h2:1".utf8)
    let member: [UInt8] = [0x08, 2, 0x12, 1, 0x6e, 0x1a, UInt8(url.count)] + url + [0x28, 1]
    #expect(
      table.encoded() == [0x08, 7, 0x12, UInt8(member.count)] + member + [0x18, 5, 0x78, 1]
    )
  }

  @Test("cut short anywhere, or with a bit turned, it throws or is a table; it never traps")
  func damage() throws {
    let bytes = try sample().encoded()
    for length in 0..<bytes.count {
      #expect(throws: MemberTableDecodeError.self, "cut at \(length)") {
        try MemberTable(decoding: Array(bytes[..<length]))
      }
    }
    for index in bytes.indices {
      for bit in 0..<8 {
        var changed = bytes
        changed[index] ^= 1 << UInt8(bit)
        if let table = try? MemberTable(decoding: changed) {
          #expect(table.members.map(\.id) == table.members.map(\.id).sorted())
        }
      }
    }
  }

  @Test("a newer format, a wrong order and an ID both here and removed are refused")
  func invalid() {
    #expect(throws: MemberTableDecodeError.newerFormat(2)) {
      try MemberTable(decoding: [0x08, 7, 0x78, 2])
    }
    let two: [UInt8] = [0x12, 2, 0x08, 2]
    let one: [UInt8] = [0x12, 2, 0x08, 1]
    let cases: [[UInt8]] = [
      two + one + [0x78, 1], two + two + [0x78, 1], two + [0x18, 2, 0x78, 1],
      [0x18, 0, 0x78, 1], [0x12, 0, 0x78, 1],
    ]
    for bytes in cases {
      #expect(throws: MemberTableDecodeError.damaged, "\(bytes)") {
        try MemberTable(decoding: bytes)
      }
    }
    #expect(throws: Never.self) { try MemberTable(decoding: one + two + [0x20, 9, 0x78, 1]) }
  }
}
