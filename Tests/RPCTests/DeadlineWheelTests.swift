import RPC
import Testing

@Suite struct DeadlineWheelTests {
  static let tick = UInt64(1) << DeadlineWheel.tickShift

  @Test func firesInTimeAndOnlyOnce() {
    var wheel = DeadlineWheel(now: 1000)
    wheel.insert(3, deadline: 5000)
    var expired: [Int] = []
    wheel.expire(now: 4999, into: &expired)
    #expect(expired.isEmpty)
    wheel.expire(now: 5000, into: &expired)
    #expect(expired == [3])
    wheel.expire(now: 5000 + 1000 * Self.tick, into: &expired)
    #expect(expired == [3])
    #expect(wheel.nextWake == nil)
  }

  @Test func pastDeadlineFiresAtTheNextCall() {
    var wheel = DeadlineWheel(now: 1000 * Self.tick)
    wheel.insert(0, deadline: 5)
    var expired: [Int] = []
    wheel.expire(now: 1000 * Self.tick, into: &expired)
    #expect(expired == [0])
  }

  @Test func removedNeverFires() {
    var wheel = DeadlineWheel(now: 0)
    wheel.insert(1, deadline: 10)
    wheel.insert(2, deadline: 10)
    wheel.remove(1)
    wheel.remove(1)
    wheel.remove(77)
    var expired: [Int] = []
    wheel.expire(now: 10, into: &expired)
    #expect(expired == [2])
  }

  /// Against a dictionary, with waking only when `nextWake` says so.
  @Test(arguments: [1, 2, 3, 4, 5] as [UInt64])
  func agreesWithANaiveOne(seed: UInt64) {
    var random = SplitMix(seed: seed)
    var wheel = DeadlineWheel(now: 0)
    var model: [Int: UInt64] = [:]
    var now: UInt64 = 0
    for step in 0..<3000 {
      switch random.next() % 4 {
      case 0, 1:
        let item = Int(random.next() % 200)
        guard model[item] == nil else { continue }
        // From past deadlines to several turns of the wheel ahead.
        let deadline = now &+ (random.next() % (2000 * Self.tick))
        let late = deadline > 10 * Self.tick ? deadline - 10 * Self.tick : 0
        model[item] = late
        wheel.insert(item, deadline: late)
      case 2:
        let item = Int(random.next() % 200)
        model[item] = nil
        wheel.remove(item)
      default:
        now += random.next() % (40 * Self.tick)
        var expired: [Int] = []
        wheel.expire(now: now, into: &expired)
        let due = model.filter { $0.value <= now }.map(\.key)
        #expect(expired.sorted() == due.sorted(), "seed \(seed), step \(step)")
        for item in due { model[item] = nil }
      }
      #expect(wheel.count == model.count)
      if let earliest = model.values.min() {
        let wake = wheel.nextWake ?? .max
        #expect(wake <= max(earliest, now) + Self.tick, "seed \(seed), step \(step)")
      } else {
        #expect(wheel.nextWake == nil)
      }
    }
  }
}

/// A small random source with a seed.
struct SplitMix: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) {
    state = seed
  }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var value = state
    value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
    value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
    return value ^ value >> 31
  }
}
