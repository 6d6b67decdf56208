import Base
import MartletServer
import Testing

private let second: UInt64 = 1_000_000_000
private let minute = 60 * second
private let hour = 60 * minute

/// Ticks once a second, the store gaining one revision a second; returns when it asked to compact
/// (seconds since the start) and at which revision.
private func run(
  _ policy: AutoCompactor.Policy,
  seconds: Int64,
  revision: (Int64) -> Int64 = { $0 + 1 },
  succeeds: (Int64) -> Bool = { _ in true },
  isPaused: (Int64) -> Bool = { _ in false }
) -> [[Int64]] {
  let start: UInt64 = 12_345
  var compactor = AutoCompactor(policy: policy, now: start, revision: Revision(revision(0)))
  var asked: [[Int64]] = []
  for time in 1...seconds {
    let now = start + UInt64(time) * second
    if isPaused(time) { compactor.pause() } else { compactor.resume() }
    guard let target = compactor.tick(now: now, revision: Revision(revision(time))) else {
      continue
    }
    asked.append([time, target.rawValue])
    compactor.finished(at: target, succeeded: succeeds(time), now: now)
  }
  return asked
}

@Suite("Automatic compaction")
struct AutoCompactorTests {
  @Test("periodic, at most an hour: every period, at the revision of a period and a check ago")
  func shortPeriod() {
    #expect(
      run(.periodic(nanoseconds: 10 * minute), seconds: 1800)
        == [[600, 1], [1200, 541], [1800, 1141]]
    )
  }

  @Test("periodic, above an hour: first after the period, then hourly")
  func longPeriod() {
    #expect(
      run(.periodic(nanoseconds: 3 * hour), seconds: 5 * 3600)
        == [[10_800, 1], [14_400, 3241], [18_000, 6841]]
    )
  }

  @Test("periodic: nothing new, nothing compacted again")
  func idle() {
    let asked = run(
      .periodic(nanoseconds: 10 * minute),
      seconds: 3600,
      revision: { min($0, 5) + 1 }
    )
    #expect(asked == [[600, 1], [1200, 6]])
  }

  @Test("periodic: a failure is tried again at the next check, a tenth of the period later")
  func retry() {
    let asked = run(
      .periodic(nanoseconds: 10 * minute),
      seconds: 1300,
      succeeds: { $0 > 700 }
    )
    #expect(asked == [[600, 1], [660, 1], [720, 61]])
  }

  @Test("paused it decides nothing, and catches up afterwards")
  func paused() {
    let asked = run(
      .periodic(nanoseconds: 10 * minute),
      seconds: 900,
      isPaused: { $0 < 800 }
    )
    #expect(asked == [[840, 181]])
    let byRevision = run(.revision(count: 10), seconds: 600, isPaused: { $0 < 400 })
    #expect(byRevision == [[600, 591]])
  }

  @Test("revision: every five minutes, keeping the newest ones, not below 1")
  func revision() {
    #expect(
      run(.revision(count: 100), seconds: 900) == [[300, 201], [600, 501], [900, 801]]
    )
    #expect(run(.revision(count: 1000), seconds: 900) == [])
    #expect(
      run(.revision(count: 100), seconds: 900, revision: { min($0, 300) + 1 }) == [[300, 201]]
    )
    #expect(
      run(.revision(count: 100), seconds: 900, succeeds: { $0 > 300 })
        == [[300, 201], [600, 501], [900, 801]]
    )
  }

  @Test("ticking late or seldom asks once, not once per missed check")
  func seldom() {
    var compactor = AutoCompactor(
      policy: .revision(count: 10),
      now: 0,
      revision: Revision(1)
    )
    #expect(compactor.nextCheck == AutoCompactor.revisionCheckNanoseconds)
    #expect(compactor.tick(now: 1, revision: Revision(1000)) == nil)
    #expect(compactor.tick(now: 10 * hour, revision: Revision(1000)) == Revision(990))
    #expect(compactor.tick(now: 10 * hour, revision: Revision(1000)) == nil)
    #expect(compactor.nextCheck == 10 * hour + AutoCompactor.revisionCheckNanoseconds)
  }

  @Test(
    "the two flags",
    arguments: [
      ("periodic", "0", nil), ("periodic", "", nil), ("periodic", "0s", nil),
      ("periodic", "2", .periodic(nanoseconds: 2 * hour)),
      ("periodic", "90s", .periodic(nanoseconds: 90 * second)),
      ("revision", "0", nil), ("revision", "1000", .revision(count: 1000)),
    ] as [(String, String, AutoCompactor.Policy?)]
  )
  func flags(mode: String, retention: String, policy: AutoCompactor.Policy?) throws {
    var configuration = ServerConfiguration()
    configuration.autoCompactionMode = mode
    configuration.autoCompactionRetention = retention
    #expect(try configuration.resolve().compaction == policy)
  }
}
