import Base
import MartletServer
import Proto
import Testing

/// What one comparison of stores says of the members.
@Suite struct StoreComparisonTests {
  private typealias Answer = StoreComparison.Answer

  private static func hash(_ hash: UInt32, compacted: Int64 = 5) -> Answer {
    .hash(hash, compactRevision: Revision(compacted))
  }

  private static func judge(_ answers: Answer...) -> StoreComparison.Finding {
    StoreComparison.judge(
      answers.enumerated().map { (MemberID(UInt64($0 + 1)), $1) },
      at: Revision(9),
      ownCompaction: answers[0].compactRevision
    )
  }

  @Test("a majority of all members decides, against whoever asks too")
  func majority() {
    let finding = Self.judge(Self.hash(8), Self.hash(7), Self.hash(7))
    #expect(finding.suspects == [MemberID(1)])
    #expect(finding.isByMajority)
    #expect(finding.report.revision == 9 && finding.report.compactRevision == 5)
    #expect(finding.report.hashes.map(\.hash) == [8, 7, 7])
    #expect(Self.judge(Self.hash(7), Self.hash(7), Self.hash(7)).suspects.isEmpty)
  }

  @Test("without a majority nobody is told apart")
  func noMajority() {
    #expect(Self.judge(Self.hash(7), Self.hash(8)).suspects == [.none])
    #expect(Self.judge(Self.hash(7), Self.hash(8), .silent("away")).suspects == [.none])
  }

  @Test("who is compacted elsewhere, behind or silent is not compared, and that is no success")
  func unknown() {
    let finding = Self.judge(
      Self.hash(7),
      Self.hash(8, compacted: 6),
      .elsewhere("future revision")
    )
    #expect(finding.suspects.isEmpty)
    #expect(!finding.isComparison)
    #expect(finding.unknown.map(\.member) == [MemberID(2), MemberID(3)])
    #expect(Self.judge(.silent("busy"), .silent("away")).unknown.count == 2)
  }

  @Test("who cannot read its store is wrong if the others can, and agree")
  func unreadable() {
    let finding = Self.judge(Self.hash(7), .unreadable, Self.hash(7))
    #expect(finding.suspects == [MemberID(2)])
    #expect(finding.report.hashes.map(\.isUnreadable) == [false, false, true])
    #expect(Self.judge(.unreadable, Self.hash(7), Self.hash(7)).suspects == [MemberID(1)])
    #expect(Self.judge(Self.hash(7), .unreadable).suspects.isEmpty)
    #expect(Self.judge(.unreadable, .unreadable, .unreadable).suspects.isEmpty)
  }
}
