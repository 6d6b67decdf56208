import Base
import Log
import Membership
import Raft
import Replica
import Storage

/// A copy of a store on its way from one life of a member to another's machine.
final class SnapshotOnItsWay {
  let content: MemoryDisk.Content
  /// What arrives of it.
  var received: MemoryDisk.Content
  /// The leader's message with the mark of the copy.
  let message: Message
  let sender: SimulatedMember
  let receiver: SimulatedMember
  /// Whether the sender still waits to hear of it.
  var isAwaited: Bool
  var partsLeft: Int
  let partMicrosecondsMax: Int

  init(
    _ content: MemoryDisk.Content,
    _ message: Message,
    from sender: SimulatedMember,
    to receiver: SimulatedMember,
    isAwaited: Bool
  ) {
    self.content = content
    received = content
    self.message = message
    self.sender = sender
    self.receiver = receiver
    self.isAwaited = isAwaited
    let random = sender.simulation.random.below(8)
    partsLeft = 1 + min(content.recordCount / 16, SimulatedMember.partCountMax)
    partMicrosecondsMax = random == 0 ? 600_000 : random < 3 ? 60_000 : 3000
  }
}

// What the threads of a real member do that send and receive snapshots.
extension SimulatedMember {
  static let partCountMax = 12
  private static let incomingPath = "incoming"
  /// How long after a failure Raft hears of it.
  private static let retryNanoseconds: UInt64 = 1_000_000_000
  private static let flushTriesMax = 4

  // MARK: The sender

  /// Raft wants a member to get a snapshot: one at a time.
  func wantSnapshot(_ message: Message) {
    wantedSnapshots.append(message)
    sendNextSnapshot()
  }

  private func sendNextSnapshot() {
    guard !isSendingSnapshot, !wantedSnapshots.isEmpty else { return }
    isSendingSnapshot = true
    let message = wantedSnapshots.removeFirst()
    later(UInt64(100 + simulation.random.below(20_000)) * 1000) { member in
      try member.copy(for: message, triesLeft: Self.flushTriesMax)
    }
  }

  /// Has what is applied written to the store first, unless that takes too long.
  private func copy(for message: Message, triesLeft: Int) throws {
    if flush == nil, triesLeft == Self.flushTriesMax, let work = machine.seal() { start(work) }
    if flush != nil, triesLeft > 0 {
      return later(30_000_000) { try $0.copy(for: message, triesLeft: triesLeft - 1) }
    }
    guard var content = node.disk.content(at: SimulatedStorage.path),
      let bytes = content.metadata(StoredMetadata.appliedKey),
      let mark = try? LogMark(decoding: bytes)
    else { return failSending(to: message.to) }
    if broken == .snapshotStale {
      // The copy is of earlier, its mark is not.
      if let old = earlierCopy {
        content = old
        content.setMetadata(StoredMetadata.appliedKey, bytes)
      } else {
        earlierCopy = content
      }
    }
    // Somebody leads since who is going to see to it.
    guard mark.term <= message.term else { return failSending(to: message.to) }
    var announced = message
    announced.snapshot = mark.snapshotMetadata
    guard let target = simulation.nodes.first(where: { $0.id == message.to })?.member,
      !target.isReceivingSnapshot
    else { return failSending(to: message.to) }
    target.isReceivingSnapshot = true
    simulation.count { $0.snapshots += 1 }
    simulation.note("sends snapshot", node, UInt64(target.node.number), mark.index.rawValue)
    let snapshot = SnapshotOnItsWay(content, announced, from: self, to: target, isAwaited: true)
    sendPart(snapshot)
    watch(snapshot)
  }

  /// The connection ends with the receiver's life.
  private func watch(_ snapshot: SnapshotOnItsWay) {
    later(500_000_000) { member in
      guard snapshot.isAwaited else { return }
      if snapshot.receiver.isAlive { return member.watch(snapshot) }
      member.finishSending(snapshot, success: false)
    }
  }

  private func failSending(to peer: MemberID) {
    simulation.note("snapshot fails", node, peer.rawValue)
    later(Self.retryNanoseconds) { $0.machine.reportSnapshot(peer, success: false) }
    isSendingSnapshot = false
    sendNextSnapshot()
  }

  private func finishSending(_ snapshot: SnapshotOnItsWay, success: Bool) {
    guard snapshot.isAwaited else { return }
    snapshot.isAwaited = false
    guard success else { return failSending(to: snapshot.message.to) }
    machine.reportSnapshot(snapshot.message.to, success: true)
    isSendingSnapshot = false
    sendNextSnapshot()
  }

  /// A part goes over the network, which may fail, and both ends may be gone.
  private func sendPart(_ snapshot: SnapshotOnItsWay) {
    let delay = UInt64(100 + simulation.random.below(snapshot.partMicrosecondsMax)) * 1000
    simulation.queue.add(at: simulation.now + delay) { [simulation] in
      let (from, to) = (snapshot.sender, snapshot.receiver)
      guard to.isAlive, from.isAlive || !snapshot.isAwaited,
        !simulation.network.links[from.node.number][to.node.number].isCut
      else {
        to.isReceivingSnapshot = false
        simulation.note("snapshot breaks off", to.node, UInt64(snapshot.partsLeft))
        return try from.input { $0.finishSending(snapshot, success: false) }
      }
      if simulation.isFaulty, simulation.random.oneIn(60), snapshot.received.recordCount > 0 {
        let place = simulation.random.below(snapshot.received.recordCount)
        snapshot.received.loseRecord(at: place)
      }
      snapshot.partsLeft -= 1
      guard snapshot.partsLeft == 0 else { return from.sendPart(snapshot) }
      try to.input { try $0.verify(snapshot) }
    }
  }

  // MARK: The receiver

  private func verify(_ snapshot: SnapshotOnItsWay) throws {
    guard broken == .snapshotUnverified || snapshot.received.equals(snapshot.content) else {
      return refuse(snapshot, "snapshot is damaged")
    }
    guard let metadata = snapshot.message.snapshot else { return }
    receivedCount += 1
    let path = "\(Self.incomingPath)-\(receivedCount)"
    let wire = MemoryDisk()
    wire.setContent(snapshot.received, at: path)
    let copy: ReceivedSnapshot
    do {
      copy = try SnapshotBuilder(
        into: MemoryStorage(disk: node.disk, path: path),
        at: path,
        announced: metadata,
        clusterID: simulation.founding.clusterID
      ).copy(of: MemoryStorage(disk: wire, path: path))
    } catch {
      guard broken != nil else {
        throw Violation(.unexpected, "m\(node.number) finds a flaw in a snapshot: \(error)")
      }
      node.disk.setContent(nil, at: path)
      return refuse(snapshot, "snapshot has a flaw")
    }
    if broken == .installWithoutNote, var content = node.disk.content(at: path) {
      content.setMetadata(StoredMetadata.installKey, nil)
      node.disk.setContent(content, at: path)
    }
    // Reading a large one takes time, in which terms may pass.
    let microseconds = simulation.random.oneIn(6) ? 4_000_000 : 20_000
    later(UInt64(100 + simulation.random.below(microseconds)) * 1000) { member in
      try member.offer(copy, snapshot, path)
    }
  }

  private func offer(
    _ copy: ReceivedSnapshot,
    _ snapshot: SnapshotOnItsWay,
    _ path: String
  ) throws {
    isReceivingSnapshot = false
    var isTaken = false
    do {
      isTaken = try machine.receive(copy, by: snapshot.message)
    } catch {
      guard broken != nil else {
        throw Violation(.unexpected, "m\(node.number) refuses a snapshot: \(error)")
      }
    }
    simulation.note(
      isTaken ? "takes snapshot" : "needs no snapshot",
      node,
      copy.mark.index.rawValue
    )
    if !isTaken { node.disk.setContent(nil, at: path) }
    answer(snapshot, success: true)
    if simulation.random.oneIn(6) { repeatLater(snapshot) }
  }

  private func refuse(_ snapshot: SnapshotOnItsWay, _ reason: StaticString) {
    simulation.note(reason, node)
    simulation.count { $0.refusedSnapshots += 1 }
    isReceivingSnapshot = false
    answer(snapshot, success: false)
  }

  private func answer(_ snapshot: SnapshotOnItsWay, success: Bool) {
    let sender = snapshot.sender
    let isHeard = !simulation.network.links[node.number][sender.node.number].isCut
    simulation.later(UInt64(100 + simulation.random.below(3000)) * 1000) {
      try sender.input { $0.finishSending(snapshot, success: success && isHeard) }
    }
  }

  /// The same comes once more, from a leader that may be none any more.
  private func repeatLater(_ snapshot: SnapshotOnItsWay) {
    let wait = UInt64(1 + simulation.random.below(8000)) * 1_000_000
    later(wait) { member in
      guard !member.isReceivingSnapshot else { return }
      member.isReceivingSnapshot = true
      member.simulation.note("snapshot comes again", member.node)
      let again = SnapshotOnItsWay(
        snapshot.content,
        snapshot.message,
        from: snapshot.sender,
        to: member,
        isAwaited: false
      )
      snapshot.sender.sendPart(again)
    }
  }

  // MARK: Installed

  /// A snapshot took the place of everything.
  func noteInstalled(_ mark: LogMark) {
    simulation.count { $0.installs += 1 }
    simulation.note("installed", node, mark.index.rawValue, mark.term.rawValue)
    watches.loseTouch()
    guard simulation.isFaulty, simulation.random.oneIn(3) else { return }
    // Before the log knows of it, most likely.
    later(UInt64(10 + simulation.random.below(2000)) * 1000) { member in
      member.simulation.stop(member.node, isPowerLost: true, restartAfter: 50_000_000)
    }
  }

  /// What an earlier life received and did not install.
  func removeLeftovers() {
    for number in 1...max(1, node.receivedCount) {
      node.disk.setContent(nil, at: "\(Self.incomingPath)-\(number)")
    }
    node.receivedCount = 0
  }

  private var receivedCount: Int {
    get { node.receivedCount }
    set { node.receivedCount = newValue }
  }
}
