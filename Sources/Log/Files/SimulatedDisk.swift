import Base

/// Numbers from a seed (SplitMix64).
struct SeededNumbers: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) {
    state = seed
  }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}

/// What survives of the unsynced changes when the power goes.
enum Survival: CaseIterable {
  case nothing
  case everything
  /// The first changes, the last of them in part.
  case prefix
  /// Some sectors of some changes, in any combination.
  case sectors
}

/// The content of a file: as the process sees it, and as the disk holds it.
struct SimulatedInode {
  private enum Change {
    case write(offset: Int, bytes: [UInt8])
    case grow(Int)
  }

  static let sectorBytes = 512

  private(set) var current: [UInt8] = []
  private var durable: [UInt8] = []
  private var changes: [Change] = []

  init(durable bytes: [UInt8] = []) {
    current = bytes
    durable = bytes
  }

  mutating func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
    Self.patch(&current, bytes, at: offset)
    changes.append(.write(offset: offset, bytes: Array(bytes)))
  }

  mutating func grow(to size: Int) {
    guard size > current.count else { return }
    Self.grow(&current, to: size)
    changes.append(.grow(size))
  }

  mutating func sync() {
    for change in changes { apply(change) }
    changes.removeAll()
  }

  /// A sync that fails: the disk gets any part of the changes, and the rest counts as clean.
  mutating func failSync(_ random: inout SeededNumbers) {
    apply(Survival.allCases.randomElement(using: &random) ?? .nothing, &random)
    changes.removeAll()
  }

  mutating func crash(_ survival: Survival, _ random: inout SeededNumbers) {
    apply(survival, &random)
    changes.removeAll()
    current = durable
  }

  mutating func flip(bit: Int, at offset: Int) {
    current[offset] ^= 1 << UInt8(bit)
    if offset < durable.count { durable[offset] ^= 1 << UInt8(bit) }
  }

  private mutating func apply(_ survival: Survival, _ random: inout SeededNumbers) {
    switch survival {
    case .nothing:
      break
    case .everything:
      for change in changes { apply(change) }
    case .prefix:
      let whole = Int.random(in: 0...changes.count, using: &random)
      for change in changes[..<whole] { apply(change) }
      if whole < changes.count, case .write(let offset, let bytes) = changes[whole] {
        let count = Int.random(in: 0...bytes.count, using: &random)
        bytes[..<count].withUnsafeBytes { Self.patch(&durable, $0, at: offset) }
      }
    case .sectors:
      for change in changes {
        guard case .write(let offset, let bytes) = change else {
          if Bool.random(using: &random) { apply(change) }
          continue
        }
        var at = 0
        while at < bytes.count {
          let sectorEnd = ((offset + at) / Self.sectorBytes + 1) * Self.sectorBytes - offset
          let end = min(bytes.count, sectorEnd)
          if Bool.random(using: &random) {
            bytes[at..<end].withUnsafeBytes { Self.patch(&durable, $0, at: offset + at) }
          }
          at = end
        }
      }
    }
  }

  private mutating func apply(_ change: Change) {
    switch change {
    case .write(let offset, let bytes):
      bytes.withUnsafeBytes { Self.patch(&durable, $0, at: offset) }
    case .grow(let size):
      Self.grow(&durable, to: size)
    }
  }

  private static func grow(_ bytes: inout [UInt8], to size: Int) {
    guard size > bytes.count else { return }
    bytes.append(contentsOf: repeatElement(0, count: size - bytes.count))
  }

  private static func patch(
    _ target: inout [UInt8],
    _ bytes: UnsafeRawBufferPointer,
    at offset: Int
  ) {
    guard bytes.count > 0 else { return }
    grow(&target, to: offset + bytes.count)
    target.withUnsafeMutableBytes { raw in
      UnsafeMutableRawBufferPointer(rebasing: raw[offset..<offset + bytes.count])
        .copyMemory(from: bytes)
    }
  }
}

/// Files, names and faults of a simulated disk; a value, so that copying it is a snapshot.
struct SimulatedDisk {
  private enum NameChange {
    case link(String, Int)
    case unlink(String)
    case rename(String, String)
  }

  struct Fault {
    var operation: FileOperation
    /// How many calls still succeed before.
    var skip: Int
    var code: Int32
  }

  var random: SeededNumbers
  private(set) var inodes: [Int: SimulatedInode] = [:]
  private(set) var names: [String: Int] = [:]
  private var durableNames: [String: Int] = [:]
  private var nameChanges: [NameChange] = []
  private var nextInode = 1
  var directories: Set<String> = []
  var locked: Set<String> = []
  /// Raised by each crash or restart: handles of earlier ones are void.
  var generation = 0
  var faults: [Fault] = []
  var bytesMax: Int?
  var held: Set<FileOperation> = []
  var hangingCount = 0
  var operationCount = 0
  /// From this operation on every one fails; nil for never.
  var stopAt: Int?

  init(seed: UInt64) {
    random = SeededNumbers(seed: seed)
  }

  var usedBytes: Int { Set(names.values).reduce(0) { $0 + (inodes[$1]?.current.count ?? 0) } }

  mutating func create(_ path: String, _ inode: SimulatedInode = SimulatedInode()) -> Int {
    let number = nextInode
    nextInode += 1
    inodes[number] = inode
    names[path] = number
    nameChanges.append(.link(path, number))
    return number
  }

  mutating func rename(_ source: String, to target: String) -> Bool {
    guard let number = names.removeValue(forKey: source) else { return false }
    names[target] = number
    nameChanges.append(.rename(source, target))
    return true
  }

  mutating func remove(_ path: String) -> Bool {
    guard names.removeValue(forKey: path) != nil else { return false }
    nameChanges.append(.unlink(path))
    return true
  }

  mutating func syncNames() {
    for change in nameChanges { apply(change) }
    nameChanges.removeAll()
  }

  mutating func withInode<Result>(
    _ number: Int,
    _ body: (inout SimulatedInode, inout SeededNumbers) -> Result
  ) -> Result? {
    guard var inode = inodes.removeValue(forKey: number) else { return nil }
    defer { inodes[number] = inode }
    return body(&inode, &random)
  }

  /// The power goes: unsynced bytes survive in part, unsynced names up to some point.
  mutating func crash() {
    let kept = Int.random(in: 0...nameChanges.count, using: &random)
    for change in nameChanges[..<kept] { apply(change) }
    nameChanges.removeAll()
    names = durableNames
    let survival = Survival.allCases.randomElement(using: &random) ?? .nothing
    for number in inodes.keys.sorted() {
      _ = withInode(number) { inode, random in inode.crash(survival, &random) }
    }
    let named = Set(names.values)
    inodes = inodes.filter { named.contains($0.key) }
    restart()
  }

  /// The process ends, the system goes on.
  mutating func restart() {
    generation += 1
    locked.removeAll()
    faults.removeAll()
    stopAt = nil
  }

  private mutating func apply(_ change: NameChange) {
    switch change {
    case .link(let path, let number):
      durableNames[path] = number
    case .unlink(let path):
      durableNames.removeValue(forKey: path)
    case .rename(let source, let target):
      durableNames[target] = durableNames.removeValue(forKey: source)
    }
  }
}
