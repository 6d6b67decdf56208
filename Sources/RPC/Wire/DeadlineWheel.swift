/// The deadlines of all running calls of one event loop: a ring of short time slots, each with a
/// list through an array of nodes, so that setting and clearing a deadline costs a few stores.
///
/// An item is a small number (a call's slot). A deadline beyond one turn of the ring waits in its
/// slot for a later turn. Knows no clock: the time is handed in, in nanoseconds.
package struct DeadlineWheel {
  /// A time slot lasts 2^23 ns, about 8.4 ms: the most by which a deadline fires late.
  package static let tickShift: UInt64 = 23
  private static let slotCount = 512

  private struct Node {
    var deadline: UInt64 = 0
    var next: Int32 = -1
    var previous: Int32 = -1
    var slot: Int32 = -1
  }

  private var nodes: ContiguousArray<Node> = []
  private var heads = ContiguousArray<Int32>(repeating: -1, count: slotCount)
  private var lastTick: UInt64
  /// How many deadlines are set.
  package private(set) var count = 0

  /// A wheel whose time starts at `now`.
  package init(now: UInt64) {
    lastTick = now >> Self.tickShift
  }

  /// Sets the deadline of `item`, which must have none. One that is past fires at the next
  /// `expire`.
  package mutating func insert(_ item: Int, deadline: UInt64) {
    while nodes.count <= item { nodes.append(Node()) }
    precondition(nodes[item].slot < 0, "item \(item) has a deadline already")
    let slot = Int(max(deadline >> Self.tickShift, lastTick) % UInt64(Self.slotCount))
    let head = heads[slot]
    nodes[item] = Node(deadline: deadline, next: head, previous: -1, slot: Int32(slot))
    if head >= 0 { nodes[Int(head)].previous = Int32(item) }
    heads[slot] = Int32(item)
    count += 1
  }

  /// Clears the deadline of `item`; it is fine when there is none.
  package mutating func remove(_ item: Int) {
    guard item < nodes.count, nodes[item].slot >= 0 else { return }
    let node = nodes[item]
    if node.previous >= 0 {
      nodes[Int(node.previous)].next = node.next
    } else {
      heads[Int(node.slot)] = node.next
    }
    if node.next >= 0 { nodes[Int(node.next)].previous = node.previous }
    nodes[item].slot = -1
    count -= 1
  }

  /// Takes out every item whose deadline is at or before `now` and appends it to `expired`.
  package mutating func expire(now: UInt64, into expired: inout [Int]) {
    let tick = now >> Self.tickShift
    guard tick >= lastTick else { return }
    let steps = min(tick - lastTick, UInt64(Self.slotCount - 1))
    for step in 0...steps {
      var item = heads[Int((tick - step) % UInt64(Self.slotCount))]
      while item >= 0 {
        let next = nodes[Int(item)].next
        if nodes[Int(item)].deadline <= now {
          remove(Int(item))
          expired.append(Int(item))
        }
        item = next
      }
    }
    lastTick = tick
  }

  /// When to call `expire` next: nil when nothing is set. Never later than one time slot after the
  /// earliest deadline, possibly earlier than it.
  package var nextWake: UInt64? {
    guard count > 0 else { return nil }
    for step in 0..<UInt64(Self.slotCount) {
      let tick = lastTick + step
      if heads[Int(tick % UInt64(Self.slotCount))] >= 0 { return (tick + 1) << Self.tickShift }
    }
    return nil
  }
}
