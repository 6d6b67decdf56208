/// Records of one kind in one growing piece of memory, named by their places; free places are used
/// again, the last freed first.
struct Slab<Element: BitwiseCopyable>: ~Copyable {
  private var base: UnsafeMutablePointer<Element>
  private var capacity: Int
  private var free: [Int32] = []
  /// How many places have ever been in use.
  private(set) var used = 0

  private static var capacityInitial: Int { 16 }

  init() {
    capacity = Self.capacityInitial
    base = .allocate(capacity: capacity)
  }

  deinit {
    base.deallocate()
  }

  /// How many records there are.
  var count: Int { used - free.count }

  @inline(__always)
  subscript(place: Int32) -> Element {
    unsafeAddress { UnsafePointer(base + Int(place)) }
    nonmutating unsafeMutableAddress { base + Int(place) }
  }

  mutating func insert(_ element: Element) -> Int32 {
    if let place = free.popLast() {
      (base + Int(place)).initialize(to: element)
      return place
    }
    if used == capacity { grow() }
    (base + used).initialize(to: element)
    used += 1
    return Int32(used - 1)
  }

  mutating func remove(_ place: Int32) {
    free.append(place)
    guard free.count == used else { return }
    // Nothing is left: memory that a flood took goes back.
    base.deallocate()
    capacity = Self.capacityInitial
    base = .allocate(capacity: capacity)
    used = 0
    free = []
  }

  private mutating func grow() {
    let bigger = UnsafeMutablePointer<Element>.allocate(capacity: capacity * 2)
    bigger.moveInitialize(from: base, count: used)
    base.deallocate()
    base = bigger
    capacity *= 2
  }
}

/// "No place": the end of a list, an empty tree.
let nowhere: Int32 = -1
