import Base
import Raft
import Replica

/// Who waits for everything acknowledged to be applied here, by rounds: all that come before a turn
/// share one. Replica thread.
struct CurrencyWaiters {
  typealias Body = @Sendable (_ isCurrent: Bool) -> Void

  private var open: [Body] = []
  private var rounds: [UInt64: [Body]] = [:]
  private var nextRound: UInt64 = 0

  /// More are refused.
  private static let waitersMax = 100_000
  private var count = 0

  mutating func add(_ body: @escaping Body) {
    guard count < Self.waitersMax else { return body(false) }
    count += 1
    open.append(body)
  }

  /// Asks for a round for those that came since the last.
  mutating func ask(_ machine: ReplicaMachine) {
    guard !open.isEmpty else { return }
    let bodies = open
    open.removeAll()
    if machine.status.readsAreLocal { return end(bodies, isCurrent: true) }
    let context = ReadQueue.context(round: nextRound, loop: ReadQueue.noLoop)
    nextRound += 1
    if machine.requestRead(context) {
      rounds[context] = bodies
    } else {
      end(bodies, isCurrent: false)
    }
  }

  mutating func answer(ready: [UInt64], lost: [UInt64]) {
    guard !rounds.isEmpty else { return }
    for context in ready {
      if let bodies = rounds.removeValue(forKey: context) { end(bodies, isCurrent: true) }
    }
    for context in lost {
      if let bodies = rounds.removeValue(forKey: context) { end(bodies, isCurrent: false) }
    }
  }

  private mutating func end(_ bodies: [Body], isCurrent: Bool) {
    count -= bodies.count
    for body in bodies { body(isCurrent) }
  }

  /// The member stops.
  mutating func endAll() {
    for bodies in rounds.values { end(bodies, isCurrent: false) }
    rounds = [:]
    end(open, isCurrent: false)
    open = []
  }
}

/// Who waits for leadership to be handed over. Replica thread.
struct TransferWaiters {
  typealias Body = @Sendable (LeadershipTransfer.Outcome) -> Void

  private var waiters: [(transfer: LeadershipTransfer, body: Body)] = []

  mutating func begin(
    _ machine: ReplicaMachine,
    to target: MemberID?,
    patienceNanoseconds: UInt64,
    _ body: @escaping Body
  ) {
    guard machine.status.role == .leader else { return body(.notLeader) }
    guard let target = machine.transferLeadership(to: target) else { return body(.failed) }
    let transfer = LeadershipTransfer(to: target, patienceNanoseconds: patienceNanoseconds)
    waiters.append((transfer, body))
  }

  /// After a turn: ends the waiting of those whose transfer is over.
  mutating func look(_ machine: ReplicaMachine) {
    guard !waiters.isEmpty else { return }
    var left: [(transfer: LeadershipTransfer, body: Body)] = []
    for var waiter in waiters {
      if let outcome = waiter.transfer.outcome(machine) {
        waiter.body(outcome)
      } else {
        left.append(waiter)
      }
    }
    waiters = left
  }

  /// The member stops.
  mutating func endAll() {
    for (_, body) in waiters { body(.failed) }
    waiters = []
  }
}
