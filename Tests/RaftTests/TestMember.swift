import Base
import Raft

/// The state machine of the tests: it remembers how far it is and a digest of all it was given.
struct TestMachine {
  var applied = LogIndex.zero
  var appliedTerm = Term.zero
  var digest: UInt64 = 0
  var confState = ConfState()

  mutating func apply(_ entry: Entry) {
    precondition(entry.index == applied + 1, "applied \(entry.index) after \(applied)")
    applied = entry.index
    appliedTerm = entry.term
    digest = TestMachine.chain(digest, entry)
  }

  /// FNV-1a over the former digest, the term and the payload.
  static func chain(_ digest: UInt64, _ entry: Entry) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    func mix(_ byte: UInt8) { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    for shift in stride(from: 0, to: 64, by: 8) { mix(UInt8(truncatingIfNeeded: digest >> shift)) }
    for shift in stride(from: 0, to: 64, by: 8) {
      mix(UInt8(truncatingIfNeeded: entry.term.rawValue >> shift))
    }
    switch entry.payload {
    case .empty: mix(0)
    case .normal(let bytes): bytes.withUnsafeBytes { for byte in $0 { mix(byte) } }
    case .configuration(let change):
      for change in change.changes { mix(UInt8(truncatingIfNeeded: change.member.rawValue)) }
    }
    return hash
  }
}

/// What survives a crash.
struct TestDisk {
  var hardState = HardState()
  var snapshotIndex = LogIndex.zero
  var snapshotTerm = Term.zero
  var entries: [Entry] = []
  var machine = TestMachine()

  var lastIndex: LogIndex { snapshotIndex + UInt64(entries.count) }

  func term(at index: LogIndex) -> Term? {
    if index == snapshotIndex { return snapshotTerm }
    guard index > snapshotIndex, index <= lastIndex else { return nil }
    return entries[Int(index - snapshotIndex) - 1].term
  }

  mutating func write(_ ready: Ready, installed: TestMachine?) {
    if let snapshot = ready.snapshotToInstall, let installed {
      snapshotIndex = snapshot.index
      snapshotTerm = snapshot.term
      entries = []
      machine = installed
    }
    if let first = ready.entriesToAppend.first {
      precondition(first.index > snapshotIndex && first.index <= lastIndex + 1)
      entries.removeLast(Int(lastIndex + 1 - first.index))
      entries += ready.entriesToAppend
    }
    if let hardState = ready.hardState { self.hardState = hardState }
  }

  mutating func compact(through index: LogIndex) {
    guard index > snapshotIndex, let term = term(at: index) else { return }
    entries.removeFirst(Int(index - snapshotIndex))
    snapshotIndex = index
    snapshotTerm = term
  }

  var restored: RestoredState {
    RestoredState(
      hardState: hardState,
      confState: machine.confState,
      snapshotIndex: snapshotIndex,
      snapshotTerm: snapshotTerm,
      entries: entries,
      applied: machine.applied
    )
  }
}

/// A message on its way, with the data of a snapshot beside it.
struct Envelope {
  var message: Message
  var machine: TestMachine?
}

/// A node and its owner: disk, state machine, and the order between them.
final class TestMember {
  var configuration: RaftConfiguration
  var node: RaftNode
  var disk: TestDisk
  var machine: TestMachine
  var isRunning = true

  /// Readys whose writes are under way, oldest first, each with the snapshot it installs.
  var writing: [(ready: Ready, installed: TestMachine?)] = []

  /// Snapshots that arrived, by the index they stand at.
  var arrived: [LogIndex: TestMachine] = [:]

  init(configuration: RaftConfiguration, disk: TestDisk, seed: UInt64) throws {
    self.configuration = configuration
    self.disk = disk
    machine = disk.machine
    node = try RaftNode(configuration: configuration, restored: disk.restored, seed: seed)
  }

  /// All that was not durable is gone.
  func crash() {
    isRunning = false
    writing = []
    arrived = [:]
  }

  func restart(seed: UInt64) throws {
    machine = disk.machine
    node = try RaftNode(configuration: configuration, restored: disk.restored, seed: seed)
    isRunning = true
  }

  func receive(_ envelope: Envelope) throws(RaftError) {
    if let snapshot = envelope.message.snapshot, let machine = envelope.machine {
      arrived[snapshot.index] = machine
    }
    try node.step(envelope.message)
  }

  /// Takes a Ready, applies what it has to apply, and leaves its write under way. Returns the Ready
  /// and the messages that leave at once.
  func takeReady(onApply: (Entry) -> Void = { _ in }) -> (Ready, [Envelope]) {
    let ready = node.ready()
    var installed: TestMachine?
    if let snapshot = ready.snapshotToInstall {
      guard let data = arrived[snapshot.index] else {
        preconditionFailure("no data for the snapshot at \(snapshot.index)")
      }
      installed = data
      machine = data
      arrived = [:]
      node.snapshotInstalled(at: snapshot.index)
    }
    for entry in ready.committedEntries {
      machine.apply(entry)
      if case .configuration(let change) = entry.payload {
        machine.confState = node.applyConfChange(change)
      }
      onApply(entry)
    }
    if let last = ready.committedEntries.last { node.applied(through: last.index) }
    writing.append((ready, installed))
    return (ready, ready.messages.map(envelope))
  }

  /// Completes the oldest `count` writes and returns the messages that waited for them.
  func persist(_ count: Int) -> [Envelope] {
    var released: [Envelope] = []
    for (ready, installed) in writing.prefix(count) {
      disk.write(ready, installed: installed)
      released += ready.messagesAfterPersist.map(envelope)
      node.persisted(through: ready.sequence)
    }
    writing.removeFirst(min(count, writing.count))
    return released
  }

  /// Makes the state machine durable.
  func flushMachine() {
    // A snapshot and the log that it empties change as one.
    if !writing.contains(where: { $0.installed != nil }) { disk.machine = machine }
  }

  /// Drops the log through `index`, as far as the durable state machine has it.
  func compact(through index: LogIndex) {
    node.snapshotAvailable(
      SnapshotMetadata(
        index: machine.applied,
        term: machine.appliedTerm,
        confState: machine.confState
      )
    )
    let index = min(index, disk.machine.applied)
    node.compact(through: index)
    disk.compact(through: index)
  }

  private func envelope(_ message: Message) -> Envelope {
    guard message.kind == .snapshot else { return Envelope(message: message, machine: nil) }
    // The transport sends what the state machine holds now, which may be newer.
    var message = message
    message.snapshot = SnapshotMetadata(
      index: machine.applied,
      term: machine.appliedTerm,
      confState: machine.confState
    )
    return Envelope(message: message, machine: machine)
  }
}
