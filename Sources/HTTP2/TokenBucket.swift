import NIOCore

/// A budget of events: starts full, each event takes tokens, time brings them back.
struct TokenBucket {
  private let burst: Int
  private let perSecond: Int
  private var tokens: Int
  private var refilledAt: NIODeadline

  init(burst: Int, perSecond: Int, now: NIODeadline) {
    self.burst = burst
    self.perSecond = perSecond
    tokens = burst
    refilledAt = now
  }

  /// Takes tokens. False when there are not enough: the peer is over its budget.
  mutating func take(_ count: Int = 1, now: NIODeadline) -> Bool {
    if tokens < count { refill(now: now) }
    guard tokens >= count else { return false }
    tokens -= count
    return true
  }

  /// Gives tokens back, up to the burst. Takes nothing of what was earned beyond it.
  mutating func give(_ count: Int) {
    tokens = max(tokens, min(burst, tokens + count))
  }

  /// Gives tokens that are kept beyond the burst, up to `beyondMax` more.
  mutating func earn(_ count: Int, beyondMax: Int) {
    tokens = max(tokens, min(burst + beyondMax, tokens + count))
  }

  // Lazily, when the bucket has run empty: what time would have brought beyond the burst is lost
  // only then, so a long quiet time refills it once.
  private mutating func refill(now: NIODeadline) {
    let elapsed = max(0, (now - refilledAt).nanoseconds)
    let seconds = Int(elapsed / 1_000_000_000)
    let gained =
      seconds >= burst
      ? burst
      : seconds * perSecond + Int(elapsed % 1_000_000_000) * perSecond / 1_000_000_000
    guard gained > 0 else { return }
    give(gained)
    refilledAt = now
  }
}
