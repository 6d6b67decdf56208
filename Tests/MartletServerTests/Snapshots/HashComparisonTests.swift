import Base
import MartletServer
import Testing

/// Who is believed when members differ.
@Suite struct HashComparisonTests {
  private static func compare(
    _ hashes: [UInt64],
    of count: Int,
    leader: MemberID? = MemberID(1)
  ) -> HashComparison {
    let members = hashes.enumerated().map { (member: MemberID(UInt64($0 + 1)), hash: $1) }
    return HashComparison(members, leader: leader, memberCount: count)
  }

  @Test("equal hashes accuse nobody, known from all or from some")
  func equal() {
    #expect(Self.compare([7, 7, 7], of: 3).suspects.isEmpty)
    #expect(Self.compare([7, 7], of: 5).suspects.isEmpty)
    #expect(Self.compare([7], of: 3).suspects.isEmpty)
  }

  @Test("a majority decides, against the leader too")
  func majority() {
    #expect(Self.compare([7, 7, 8], of: 3).suspects == [MemberID(3)])
    #expect(Self.compare([8, 7, 7], of: 3).suspects == [MemberID(1)])
    #expect(Self.compare([8, 7, 7], of: 3).isByMajority)
    #expect(Self.compare([7, 8, 9, 7, 7], of: 5).suspects == [MemberID(2), MemberID(3)])
  }

  @Test("without a majority the leader is believed")
  func split() {
    let verdict = Self.compare([7, 8], of: 3)
    #expect(!verdict.isByMajority)
    #expect(verdict.suspects == [MemberID(2)])
    #expect(Self.compare([7, 8, 8], of: 5).suspects == [MemberID(2), MemberID(3)])
    #expect(Self.compare([7, 8, 9], of: 3).suspects == [MemberID(2), MemberID(3)])
  }

  @Test("where no leader is believed, a majority decides, or all are suspects")
  func leaderless() {
    #expect(Self.compare([8, 7, 7], of: 3, leader: nil).suspects == [MemberID(1)])
    #expect(Self.compare([7, 7], of: 3, leader: nil).suspects.isEmpty)
    for hashes: [UInt64] in [[7, 8], [7, 8, 9]] {
      let verdict = Self.compare(hashes, of: 3, leader: nil)
      #expect(!verdict.isByMajority)
      #expect(verdict.suspects == [.none])
    }
    // One that is alone with its answer accuses nobody.
    #expect(Self.compare([7], of: 3, leader: nil).suspects.isEmpty)
  }
}
