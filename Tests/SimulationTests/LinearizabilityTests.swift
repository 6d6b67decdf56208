import Simulation
import Testing

/// One register: the textbook's histories.
@Suite struct LinearizabilityTests {
  enum Operation {
    case write(Int)
    case read(Int?)
    case add
  }

  struct Register: SequentialModel {
    var initial: Int { 0 }

    func step(_ state: Int, _ operation: Operation) -> Int? {
      switch operation {
      case .write(let value): value
      case .read(let value): value == nil || value == state ? state : nil
      case .add: state + 1
      }
    }
  }

  private func check(
    _ history: [(Operation, UInt64, UInt64)],
    stepsMax: Int = 100_000
  ) -> LinearizabilityOutcome {
    LinearizabilityChecker.check(
      history.map { TimedOperation($0.0, call: $0.1, end: $0.2) },
      Register(),
      stepsMax: stepsMax
    )
  }

  @Test func anEmptyHistoryIs() {
    #expect(check([]) == .linearizable)
  }

  @Test func oneAfterTheOther() {
    #expect(check([(.write(1), 0, 1), (.read(1), 2, 3)]) == .linearizable)
    #expect(check([(.write(1), 0, 1), (.read(0), 2, 3)]) != .linearizable)
  }

  @Test func atTheSameTimeEitherMayBeFirst() {
    #expect(check([(.write(1), 0, 10), (.read(0), 1, 2)]) == .linearizable)
    #expect(check([(.write(1), 0, 10), (.read(1), 1, 2)]) == .linearizable)
  }

  /// Of two reads the later must not see the older value, though a write is under way all the time.
  @Test func readsDoNotGoBack() {
    let history: [(Operation, UInt64, UInt64)] = [
      (.write(1), 0, 100), (.read(1), 10, 20), (.read(0), 30, 40),
    ]
    #expect(check(history) == .violated(placed: 2, stuck: 2))
    #expect(check([history[0], (.read(0), 10, 20), (.read(1), 30, 40)]) == .linearizable)
  }

  @Test func twoWritesInTwoOrders() {
    let writes: [(Operation, UInt64, UInt64)] = [(.write(1), 0, 10), (.write(2), 0, 10)]
    #expect(check(writes + [(.read(1), 11, 12), (.read(1), 13, 14)]) == .linearizable)
    #expect(check(writes + [(.read(1), 11, 12), (.read(2), 13, 14)]) != .linearizable)
  }

  /// What was never answered may have happened, late too, or not at all.
  @Test func unknownOutcomes() {
    let unknown: (Operation, UInt64, UInt64) = (.write(1), 0, .max)
    #expect(check([unknown, (.read(0), 5, 6), (.read(1), 7, 8)]) == .linearizable)
    #expect(check([unknown, (.read(0), 5, 6), (.read(0), 7, 8)]) == .linearizable)
    #expect(check([unknown, (.read(1), 5, 6), (.read(0), 7, 8)]) != .linearizable)
    // It happens once.
    #expect(
      check([(.add, 0, .max), (.read(1), 1, 2), (.read(2), 3, 4)]) != .linearizable
    )
  }

  /// Every number is tried as the only one that fits a longer history.
  @Test func concurrentAdditionsMustAddUp() {
    var history: [(Operation, UInt64, UInt64)] = (0..<6).map { _ in (.add, 0, 100) }
    for value in 0..<6 { history.append((.read(value), UInt64(value * 5 + 1), 60)) }
    #expect(check(history + [(.read(6), 200, 201)]) == .linearizable)
    #expect(check(history + [(.read(5), 200, 201)]) != .linearizable)
  }

  @Test func aSearchThatIsTooLongSaysSo() {
    let history: [(Operation, UInt64, UInt64)] =
      (0..<12).map { (.write($0), 0, 100) } + [(.read(99), 200, 201)]
    #expect(check(history, stepsMax: 100) == .gaveUp)
    #expect(check(history, stepsMax: 10_000_000) != .linearizable)
  }

  // MARK: Parts

  struct KeyedOperation {
    var key: Int
    var operation: Operation
  }

  struct KeyedRegister: SequentialModel {
    var initial: [Int: Int] { [:] }

    func step(_ state: [Int: Int], _ operation: KeyedOperation) -> [Int: Int]? {
      guard let value = Register().step(state[operation.key] ?? 0, operation.operation) else {
        return nil
      }
      var next = state
      next[operation.key] = value
      return next
    }
  }

  @Test func partsAreCheckedByThemselves() {
    func timed(
      _ key: Int,
      _ operation: Operation,
      _ call: UInt64,
      _ end: UInt64
    )
      -> TimedOperation<KeyedOperation>
    {
      TimedOperation(KeyedOperation(key: key, operation: operation), call: call, end: end)
    }
    let good = [
      timed(1, .write(5), 0, 1), timed(2, .write(6), 0, 1), timed(1, .read(5), 2, 3),
      timed(2, .read(6), 2, 3),
    ]
    let model = KeyedRegister()
    #expect(
      LinearizabilityChecker.check(good, model, stepsMax: 1000) { $0.key } == .linearizable
    )
    let bad = good + [timed(2, .read(5), 4, 5)]
    #expect(
      LinearizabilityChecker.check(bad, model, stepsMax: 1000) { $0.key }
        == .violated(placed: 2, stuck: 4)
    )
    #expect(LinearizabilityChecker.check(bad, model, stepsMax: 1000) != .linearizable)
  }

  // MARK: Stamps

  /// A register whose state has a number that answers name.
  struct Stamped: SequentialModel {
    var initial: Int { 0 }
    func step(_ state: Int, _ seen: Int?) -> Int? {
      seen == nil || seen == state + 1 ? state + 1 : nil
    }
    func stamp(_ state: Int) -> Int64 { Int64(state) }
    func stamp(of seen: Int?) -> Int64? { seen.map { Int64($0) } }
  }

  @Test func stampsGuideTheSearch() {
    // Thirty that were never answered, one of which is the fifth: blind search would not end.
    var history: [TimedOperation<Int?>] = (0..<30).map { _ in
      TimedOperation(nil, call: 0, end: .max)
    }
    for seen in [1, 2, 3, 4, 6, 7] {
      history.append(
        TimedOperation(seen, call: UInt64(seen * 10), end: UInt64(seen * 10 + 5))
      )
    }
    #expect(LinearizabilityChecker.check(history, Stamped(), stepsMax: 20_000) == .linearizable)
    history.append(TimedOperation(6, call: 90, end: 95))
    #expect(LinearizabilityChecker.check(history, Stamped(), stepsMax: 200_000) != .linearizable)
  }
}
