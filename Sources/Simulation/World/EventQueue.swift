/// What is to happen, by the time at which it will. Events of one time happen in the order in which
/// they were added.
struct EventQueue {
  typealias Action = () throws -> Void

  private struct Item {
    var time: UInt64
    var number: UInt64
    var action: Action
  }

  private var heap: [Item] = []
  private var nextNumber: UInt64 = 0

  var isEmpty: Bool { heap.isEmpty }

  private func precedes(_ left: Int, _ right: Int) -> Bool {
    heap[left].time != heap[right].time
      ? heap[left].time < heap[right].time : heap[left].number < heap[right].number
  }

  mutating func add(at time: UInt64, _ action: @escaping Action) {
    heap.append(Item(time: time, number: nextNumber, action: action))
    nextNumber += 1
    var place = heap.count - 1
    while place > 0, precedes(place, (place - 1) / 2) {
      heap.swapAt(place, (place - 1) / 2)
      place = (place - 1) / 2
    }
  }

  /// Takes the next event.
  mutating func take() -> (time: UInt64, action: Action)? {
    guard !heap.isEmpty else { return nil }
    heap.swapAt(0, heap.count - 1)
    let item = heap.removeLast()
    var place = 0
    while true {
      var first = place
      for child in [2 * place + 1, 2 * place + 2]
      where child < heap.count && precedes(child, first) {
        first = child
      }
      if first == place { break }
      heap.swapAt(place, first)
      place = first
    }
    return (item.time, item.action)
  }
}
