import Base
import Proto

/// A client that watches a range, for ever: when its member dies it goes on at another from the
/// revision after the last that it saw. It knows what it has to get.
final class WatcherClient {
  private unowned let simulation: Simulation
  private let key: [UInt8]
  private let rangeEnd: [UInt8]
  private let previousPair: Bool
  /// How long a response is on its way at most.
  let slownessMicroseconds: Int

  /// The connection: which life of which machine, and the stream there.
  private var member: SimulatedMember?
  private var token: UInt64 = 0
  /// The first revision that it lacks; 0 before it knows any.
  private var next: Int64 = 0
  /// Where in the oracle's events that is.
  private var cursor = 0
  private var isCreated = false
  private(set) var received = 0
  private(set) var compactedCount = 0

  init(_ simulation: Simulation) {
    self.simulation = simulation
    if simulation.random.oneIn(3) {
      key = [0]
      rangeEnd = [0]
    } else if simulation.random.oneIn(2) {
      key = RequestMaker.randomKey(&simulation.random)
      rangeEnd = []
    } else {
      key = Array("key-1".utf8)
      rangeEnd = Array("key-6".utf8)
    }
    previousPair = simulation.random.oneIn(4)
    slownessMicroseconds = simulation.random.oneIn(3) ? 400_000 : 5000
    if simulation.random.oneIn(3) { next = Int64(1 + simulation.random.below(20)) }
  }

  private func isInside(_ candidate: [UInt8]) -> Bool {
    if rangeEnd.isEmpty { return candidate == key }
    return !candidate.lexicographicallyPrecedes(key)
      && (rangeEnd == [0] || candidate.lexicographicallyPrecedes(rangeEnd))
  }

  // MARK: Connections

  /// Looks whether the connection stands, and makes a new one otherwise. Now and then it asks for
  /// progress, or leaves a member that works.
  func step() throws {
    if let member, member.isAlive, !isForsaken(member) {
      if simulation.random.oneIn(12) {
        disconnect()
      } else if simulation.random.oneIn(3) {
        let token = token
        return try member.input { $0.watches.requestProgress(token) }
      } else {
        return
      }
    }
    disconnect()
    guard let chosen = simulation.randomMember(), !isForsaken(chosen) else { return }
    try connect(to: chosen)
  }

  /// A member that was removed and does not know it hears of nothing any more. In the end everybody
  /// has left it.
  private func isForsaken(_ member: SimulatedMember) -> Bool {
    !simulation.isFaulty && simulation.oracle.membership[member.node.id] == nil
  }

  func connect(to chosen: SimulatedMember) throws {
    disconnect()
    member = chosen
    isCreated = false
    try chosen.input { [self] member in
      guard self.member === member else { return }
      token = member.watches.open(
        self,
        Etcdserverpb.WatchCreateRequest(
          key: key,
          rangeEnd: rangeEnd,
          startRevision: next,
          progressNotify: simulation.random.oneIn(3),
          prevKV: previousPair
        )
      )
      simulation.note("watch", member.node, UInt64(next), token)
    }
  }

  private func disconnect() {
    guard let member else { return }
    if member.isAlive { member.watches.close(token) }
    self.member = nil
    token = 0
  }

  func tearDown() { member = nil }

  // MARK: Responses

  func receive(_ bytes: [UInt8], _ token: UInt64) throws {
    guard member != nil, token == self.token else { return }
    guard let response = try? Etcdserverpb.WatchResponse(decoding: bytes) else {
      throw Violation(.watchOrder, "a response does not decode")
    }
    let revision = response.header?.revision ?? 0
    if response.created {
      isCreated = true
      if next == 0 { seek(revision + 1) } else { seek(next) }
    }
    if response.canceled { return try cancelled(response) }
    if !response.events.isEmpty {
      guard isCreated else { throw Violation(.watchStart, "events before the watch is created") }
      try receive(response.events)
    } else if !response.created {
      try checkProgress(revision)
    }
  }

  /// What is below `revision` it does not want.
  private func seek(_ revision: Int64) {
    next = revision
    let events = simulation.oracle.events
    while cursor < events.count, events[cursor].main < revision { cursor += 1 }
  }

  private func receive(_ events: [Mvccpb.Event]) throws {
    var place = 0
    while place < events.count {
      let revision = events[place].kv?.modRevision ?? 0
      var end = place
      while end < events.count, events[end].kv?.modRevision == revision { end += 1 }
      try receive(Array(events[place..<end]), of: revision)
      place = end
    }
  }

  /// All events of one revision.
  private func receive(_ events: [Mvccpb.Event], of revision: Int64) throws {
    guard revision >= next else {
      throw Violation(.watchOrder, "\(self) gets revision \(revision), it wants \(next) and later")
    }
    let expected = takeExpected(through: revision)
    guard expected.first?.main == revision else {
      throw Violation(
        expected.isEmpty ? .watchOrder : .watchLoss,
        "\(self) gets revision \(revision), to come is \(expected.first?.main ?? 0)"
      )
    }
    let found = events.sorted { left, right in
      (left.kv?.key ?? []).lexicographicallyPrecedes(right.kv?.key ?? [])
    }
    guard found.count == expected.count,
      zip(found, expected).allSatisfy({ Self.isSame($0, $1) })
    else { throw Violation(.watchLoss, "\(self): other events at revision \(revision)") }
    received += found.count
    next = revision + 1
  }

  private static func isSame(_ found: Mvccpb.Event, _ expected: Oracle.Event) -> Bool {
    if let pair = expected.pair { return found.type == .put && found.kv == pair }
    return found.type == .delete && found.kv?.key == expected.key
  }

  /// The events inside of the first revision that has some, if that is no later than `revision`.
  private func takeExpected(through revision: Int64) -> [Oracle.Event] {
    let events = simulation.oracle.events
    var expected: [Oracle.Event] = []
    while cursor < events.count, events[cursor].main <= revision {
      let event = events[cursor]
      if let first = expected.first, event.main != first.main { break }
      cursor += 1
      if event.main >= next, isInside(event.key) { expected.append(event) }
    }
    return expected
  }

  /// Everything up to `revision` has been sent.
  private func checkProgress(_ revision: Int64) throws {
    guard isCreated else { return }
    guard takeExpected(through: revision).isEmpty else {
      throw Violation(.progressNotification, "\(self): progress at \(revision) without its events")
    }
    next = max(next, revision + 1)
  }

  private func cancelled(_ response: Etcdserverpb.WatchResponse) throws {
    let compacted = response.compactRevision
    guard compacted > 0 else {
      throw Violation(.watchLoss, "\(self) is cancelled: \(response.cancelReason)")
    }
    guard compacted > next, compacted <= simulation.oracle.model.compacted else {
      throw Violation(.watchLoss, "\(self), at \(next), is cancelled as of \(compacted)")
    }
    compactedCount += 1
    seek(compacted)
    disconnect()
  }

  /// At the end everything has come.
  func checkEnd() throws {
    let expected = takeExpected(through: .max)
    guard expected.isEmpty else {
      throw Violation(.watchLoss, "\(self) never gets revision \(expected[0].main)")
    }
  }
}

extension WatcherClient: CustomStringConvertible {
  var description: String {
    "a watch of \(String(decoding: key, as: UTF8.self))"
      + (rangeEnd.isEmpty ? "" : "...\(String(decoding: rangeEnd, as: UTF8.self))")
      + (member.map { " at m\($0.node.number)" } ?? "")
  }
}
