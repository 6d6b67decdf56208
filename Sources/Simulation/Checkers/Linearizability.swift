/// What a concurrent history has to look like some run of: one operation at a time.
package protocol SequentialModel {
  associatedtype Operation
  associatedtype State: Hashable

  var initial: State { get }

  /// The state after an operation with the outcome that it had; nil when it could not have had it
  /// there.
  func step(_ state: State, _ operation: Operation) -> State?

  /// A number that never falls from state to state, such as a revision.
  func stamp(_ state: State) -> Int64

  /// That number right after an operation, where its outcome names it.
  func stamp(of operation: Operation) -> Int64?
}

extension SequentialModel {
  package func stamp(_ state: State) -> Int64 { 0 }
  package func stamp(of operation: Operation) -> Int64? { nil }
}

/// An operation of a client and when it was under way.
package struct TimedOperation<Operation> {
  package var operation: Operation
  package var call: UInt64
  /// `.max` when its end was never seen: it may have happened at any time since, or not.
  package var end: UInt64

  package init(_ operation: Operation, call: UInt64, end: UInt64) {
    self.operation = operation
    self.call = call
    self.end = end
  }
}

/// Whether a history is linearizable.
package enum LinearizabilityOutcome: Equatable, Sendable {
  case linearizable
  /// Not, and how many operations could be placed at most, and the operation, by its place in the
  /// history, that could not be placed then.
  case violated(placed: Int, stuck: Int?)
  /// The search took more than so many steps.
  case gaveUp
}

/// The search for an order of a history's operations: that of Wing and Gong, with Lowe's memory of
/// what was tried, as Porcupine has it.
///
/// Calls and returns are one list in the order of time. An operation may come next when its call is
/// before the first return that is left. It is taken out and the search goes on at the front; at a
/// return nothing more can come before it, so the last operation is put back and its successors are
/// tried. A set of placed operations that led to the same state before is not followed again.
package struct LinearizabilityChecker<Model: SequentialModel> {
  private struct Node {
    /// The operation's place in the history.
    var operation: Int
    var isCall: Bool
    /// For a call, the node of its return.
    var match: Int
    var previous: Int
    var next: Int
  }

  private struct Key: Hashable {
    var placed: [UInt64]
    var state: Model.State
  }

  private let model: Model
  private let history: [TimedOperation<Model.Operation>]
  private let stepsMax: Int
  private var nodes: [Node] = []
  /// Operations with a known stamp, by that stamp.
  private var stamped: [(stamp: Int64, operation: Int)] = []

  /// The list's head.
  private static var head: Int { 0 }

  private init(
    _ model: Model,
    _ history: [TimedOperation<Model.Operation>],
    stepsMax: Int
  ) {
    self.model = model
    self.history = history
    self.stepsMax = stepsMax
    var moments: [(time: UInt64, isCall: Bool, operation: Int)] = []
    for (place, timed) in history.enumerated() {
      moments.append((timed.call, true, place))
      moments.append((timed.end, false, place))
      if let stamp = model.stamp(of: timed.operation) { stamped.append((stamp, place)) }
    }
    // Of what is at one time, calls go first: then neither is known to be before the other.
    moments.sort {
      if $0.time != $1.time { return $0.time < $1.time }
      if $0.isCall != $1.isCall { return $0.isCall }
      return $0.operation < $1.operation
    }
    stamped.sort { ($0.stamp, $0.operation) < ($1.stamp, $1.operation) }
    nodes = [Node(operation: -1, isCall: false, match: -1, previous: -1, next: -1)]
    var calls = [Int](repeating: -1, count: history.count)
    for moment in moments {
      let node = nodes.count
      nodes[node - 1].next = node
      nodes.append(
        Node(
          operation: moment.operation,
          isCall: moment.isCall,
          match: -1,
          previous: node - 1,
          next: -1
        )
      )
      if moment.isCall {
        calls[moment.operation] = node
      } else {
        nodes[calls[moment.operation]].match = node
      }
    }
  }

  /// Checks a history. Operations whose outcome is not known end at `.max`.
  package static func check(
    _ history: [TimedOperation<Model.Operation>],
    _ model: Model,
    stepsMax: Int
  ) -> LinearizabilityOutcome {
    var checker = LinearizabilityChecker(model, history, stepsMax: stepsMax)
    return checker.search()
  }

  /// The same for a history whose operations each touch one of several things that know nothing of
  /// each other, such as keys: the parts are checked one by one.
  package static func check<Part: Hashable & Comparable>(
    _ history: [TimedOperation<Model.Operation>],
    _ model: Model,
    stepsMax: Int,
    by part: (Model.Operation) -> Part
  ) -> LinearizabilityOutcome {
    let parts = Dictionary(grouping: history.indices) { part(history[$0].operation) }
    var outcome = LinearizabilityOutcome.linearizable
    for (_, places) in parts.sorted(by: { $0.key < $1.key }) {
      switch check(places.map { history[$0] }, model, stepsMax: stepsMax) {
      case .linearizable: break
      case .gaveUp: outcome = .gaveUp
      case .violated(let placed, let stuck):
        return .violated(placed: placed, stuck: stuck.map { places[$0] })
      }
    }
    return outcome
  }

  private mutating func lift(_ call: Int) {
    for node in [call, nodes[call].match] {
      nodes[nodes[node].previous].next = nodes[node].next
      if nodes[node].next >= 0 { nodes[nodes[node].next].previous = nodes[node].previous }
    }
  }

  private mutating func putBack(_ call: Int) {
    for node in [nodes[call].match, call] {
      nodes[nodes[node].previous].next = node
      if nodes[node].next >= 0 { nodes[nodes[node].next].previous = node }
    }
  }

  private mutating func search() -> LinearizabilityOutcome {
    var state = model.initial
    var placed = [UInt64](repeating: 0, count: history.count / 64 + 1)
    var placedCount = 0
    var oldestStamped = 0
    var tried: Set<Key> = []
    var stack: [(call: Int, state: Model.State, oldestStamped: Int)] = []
    var most = (count: 0, stuck: Int?.none)
    var node = nodes[Self.head].next
    var steps = 0
    func isPlaced(_ operation: Int) -> Bool { placed[operation / 64] >> (operation % 64) & 1 == 1 }
    while nodes[Self.head].next >= 0 {
      steps += 1
      if steps > stepsMax { return .gaveUp }
      let operation = nodes[node].operation
      if nodes[node].isCall {
        // What was never answered and changes nothing here need not be placed at all.
        if let next = model.step(state, history[operation].operation),
          history[operation].end != .max || next != state
        {
          placed[operation / 64] |= 1 << (operation % 64)
          let before = oldestStamped
          while oldestStamped < stamped.count, isPlaced(stamped[oldestStamped].operation) {
            oldestStamped += 1
          }
          // An operation that is left must not have seen an older state than this.
          let isOver =
            oldestStamped < stamped.count && stamped[oldestStamped].stamp < model.stamp(next)
          if !isOver, tried.insert(Key(placed: placed, state: next)).inserted {
            stack.append((node, state, before))
            state = next
            placedCount += 1
            lift(node)
            node = nodes[Self.head].next
            continue
          }
          placed[operation / 64] &= ~(1 << (operation % 64))
          oldestStamped = before
        }
        node = nodes[node].next
      } else {
        if placedCount >= most.count { most = (placedCount, operation) }
        // Only returns that were never seen are left: what did not happen need not be placed.
        if history[operation].end == .max { return .linearizable }
        guard let last = stack.popLast() else {
          return .violated(placed: most.count, stuck: most.stuck)
        }
        let undone = nodes[last.call].operation
        placed[undone / 64] &= ~(1 << (undone % 64))
        placedCount -= 1
        state = last.state
        oldestStamped = last.oldestStamped
        putBack(last.call)
        node = nodes[last.call].next
      }
    }
    return .linearizable
  }
}
