package import Base
import Flags

/// Decides when to compact, and at which revision, as etcd's two automatic compactors do.
///
/// No clock and no store: the owner calls `tick` with the time and the store's revision, compacts
/// at what it returns, and reports with `finished`. Times are nanoseconds of any monotonic clock.
package struct AutoCompactor: Sendable {
  package enum Policy: Hashable, Sendable {
    /// Keeps what was current within the last so many nanoseconds (more than 0), and up to one
    /// check longer.
    case periodic(nanoseconds: UInt64)
    /// Keeps the newest so many revisions (more than 0).
    case revision(count: Int64)
  }

  /// How often the revision policy looks: 5 minutes.
  package static let revisionCheckNanoseconds: UInt64 = 300_000_000_000
  /// A period above this compacts this often: 1 hour.
  package static let compactionIntervalNanosecondsMax: UInt64 = 3_600_000_000_000
  /// How many times the periodic policy looks within one compaction interval.
  package static let checksPerInterval: UInt64 = 10

  private let policy: Policy
  /// Revisions at past checks, oldest first; periodic policy only. `sampleCountMax` bounds it.
  private var samples: [Revision] = []
  private var lastCompacted = Revision(0)
  private var lastSuccess: UInt64
  private var hasCompacted = false
  private var isPaused = false
  /// When `tick` next has something to decide.
  package private(set) var nextCheck: UInt64

  /// Starts counting at `now`, with the store at `revision`.
  package init(policy: Policy, now: UInt64, revision: Revision) {
    self.policy = policy
    lastSuccess = now
    nextCheck = 0
    if case .periodic = policy { samples = [revision] }
    nextCheck = now + checkInterval
  }

  private var compactionInterval: UInt64 {
    guard case .periodic(let period) = policy else { return Self.revisionCheckNanoseconds }
    return min(period, Self.compactionIntervalNanosecondsMax)
  }

  private var checkInterval: UInt64 {
    guard case .periodic = policy else { return Self.revisionCheckNanoseconds }
    return max(compactionInterval / Self.checksPerInterval, 1)
  }

  /// Samples that reach back one whole period at every check.
  private var sampleCountMax: Int {
    guard case .periodic(let period) = policy else { return 0 }
    return Int(clamping: period / checkInterval) + 1
  }

  /// Stops deciding, e.g. when another member leads. Sampling goes on.
  package mutating func pause() { isPaused = true }

  /// Decides again.
  package mutating func resume() { isPaused = false }

  /// Looks whether it is time; returns the revision to compact at, if any. Calls before
  /// `nextCheck` do nothing, so ticking too often does no harm.
  package mutating func tick(now: UInt64, revision: Revision) -> Revision? {
    guard now >= nextCheck else { return nil }
    nextCheck = now + checkInterval
    switch policy {
    case .periodic(let period):
      let oldest = samples[0]
      defer { sample(revision) }
      let wait = hasCompacted ? compactionInterval : period
      guard !isPaused, now - lastSuccess >= wait, oldest != lastCompacted else { return nil }
      return oldest
    case .revision(let count):
      let target = Revision(revision.rawValue - count)
      guard !isPaused, target.rawValue > 0, target != lastCompacted else { return nil }
      return target
    }
  }

  private mutating func sample(_ revision: Revision) {
    samples.append(revision)
    if samples.count > sampleCountMax { samples.removeFirst() }
  }

  /// Reports what became of a compaction that `tick` asked for. One that somebody else had done
  /// already counts as done; after a failure the next check asks again.
  package mutating func finished(at revision: Revision, succeeded: Bool, now: UInt64) {
    guard succeeded else { return }
    lastCompacted = revision
    lastSuccess = now
    hasCompacted = true
  }
}

extension AutoCompactor.Policy {
  /// Reads the two flags; nothing when automatic compaction is off (retention 0 or empty).
  init?(mode: String, retention: String) throws(ConfigurationError) {
    let flag = "--auto-compaction-retention"
    switch mode {
    case "periodic":
      let period: Duration
      if let hours = Int64(retention) {
        guard hours >= 0, hours <= Int64.max / 3_600_000_000_000 else {
          throw .invalid("\(flag): \(retention) hours are out of range.")
        }
        period = .seconds(hours * 3600)
      } else if retention.isEmpty {
        period = .zero
      } else if let duration = GoDuration.parse(retention), duration >= .zero {
        period = duration
      } else {
        throw .invalid(
          "\(flag): expected a duration like 5m or a number of hours, found "
            + "\(retention.debugDescription)."
        )
      }
      guard period > .zero else { return nil }
      self = .periodic(nanoseconds: UInt64(GoDuration.nanoseconds(period)))
    case "revision":
      guard let count = Int64(retention.isEmpty ? "0" : retention), count >= 0 else {
        throw .invalid(
          "\(flag): mode revision expects a number of revisions, found "
            + "\(retention.debugDescription)."
        )
      }
      guard count > 0 else { return nil }
      self = .revision(count: count)
    default:
      throw .invalid(
        "--auto-compaction-mode must be periodic or revision (is \(mode.debugDescription))."
      )
    }
  }
}
