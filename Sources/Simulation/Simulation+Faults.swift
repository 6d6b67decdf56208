import Base
import Log
import Proto
import Replica
import Storage

// What goes wrong.
extension Simulation {
  func scheduleFault() {
    later(UInt64(50 + random.below(2500)) * 1_000_000) { [unowned self] in
      guard isFaulty else { return }
      try injectFault()
      scheduleFault()
    }
  }

  /// Of those that are on, if any is: a machine that left is not worth a fault.
  private var somebody: SimulatedNode {
    let up = nodes.filter(\.isUp)
    return up.randomElement(using: &random) ?? nodes[0]
  }

  private func milliseconds(_ least: Int, _ most: Int) -> UInt64 {
    UInt64(least + random.below(most - least)) * 1_000_000
  }

  private func injectFault() throws {
    count { $0.faults += 1 }
    switch random.below(21) {
    case 0, 1: crash(somebody)
    case 2: if let leader { crash(leader) }
    case 3: for node in nodes where random.oneIn(2) { crash(node) }
    case 4: breakLinks()
    case 5: part()
    case 6: isolateLeader()
    case 7: pause(somebody, milliseconds(50, 8000))
    case 8: if let leader { pause(leader, milliseconds(500, 6000)) }
    case 9: slowDisk(somebody)
    case 10, 11: failDisk(somebody)
    case 12: failStorage(somebody)
    case 13: disturbElection()
    case 14: flipBit(somebody)
    case 15: try transferLeadership()
    case 16: disturbElection()
    case 17: loseDisks(of: somebody)
    case 18, 19: breakStreams()
    default: network.heal()
    }
  }

  private func crash(_ node: SimulatedNode) {
    stop(
      node,
      isPowerLost: !random.oneIn(4),
      restartAfter: random.oneIn(2) ? milliseconds(1, 50) : milliseconds(50, 5000)
    )
  }

  /// The leader goes, messages take about as long as an election, and who gives a vote may crash.
  private func disturbElection() {
    note("disturbed election", nil)
    for node in nodes { node.crashesAfterVote = random.oneIn(2) }
    let delay = [100_000, 400_000, 1_000_000][random.below(3)]
    network.setAll { $0.delayMaxMicroseconds = delay }
    if let leader {
      stop(leader, isPowerLost: true, restartAfter: milliseconds(1, random.oneIn(2) ? 50 : 5000))
    }
    later(milliseconds(2000, 6000)) { [unowned self] in
      network.heal()
      for node in nodes { node.crashesAfterVote = false }
    }
  }

  private func breakLinks() {
    note("loss", nil)
    let (loss, duplicates) = (2 + random.below(20), random.below(20))
    let delay = [2000, 20_000, 200_000, 1_500_000][random.below(4)]
    network.setAll {
      $0.lossOneIn = loss
      $0.duplicateOneIn = duplicates
      $0.delayMaxMicroseconds = delay
    }
    healNetworkLater()
  }

  private func healNetworkLater() {
    later(milliseconds(300, 6000)) { [unowned self] in
      note("network heals", nil)
      network.heal()
    }
  }

  /// What is under way between two members is lost, the leader being one of them more often than not;
  /// a moment later there are new streams, and both know it.
  private func breakStreams() {
    let one = (random.oneIn(3) ? nil : leader) ?? somebody
    let other = somebody
    guard one !== other else { return }
    note("streams break", one, to: other)
    network.breakStreams(one.number, other.number)
    later(milliseconds(5, 1500)) { [unowned self] in
      note("streams stand", one, to: other)
      network.join(one.number, other.number)
      try one.member?.input { $0.machine.peerConnected(other.id) }
      try other.member?.input { $0.machine.peerConnected(one.id) }
    }
  }

  private func part() {
    let sides = nodes.map { _ in random.oneIn(2) }
    note("partition", nil, sides.reduce(0) { $0 << 1 | ($1 ? 1 : 0) })
    if random.oneIn(3) {
      // One way only.
      for from in nodes.indices {
        for to in nodes.indices where sides[from] && !sides[to] { network.cut(from, to) }
      }
    } else {
      network.part(sides)
    }
    healNetworkLater()
  }

  private func isolateLeader() {
    guard let leader else { return }
    note("leader is cut off", leader)
    network.part(nodes.map { $0 === leader })
    healNetworkLater()
  }

  private func transferLeadership() throws {
    guard let leader, let target = nodes.randomElement(using: &random) else { return }
    note("leadership is handed over", leader, UInt64(target.number))
    try leader.member?.input { _ = $0.machine.transferLeadership(to: target.id) }
  }

  private func slowDisk(_ node: SimulatedNode) {
    note("slow disk", node)
    node.syncMicrosecondsMax = [30_000, 300_000, 3_000_000][random.below(3)]
    later(milliseconds(200, 5000)) {
      node.syncMicrosecondsMax = SimulatedNode.syncMicrosecondsUsual
    }
  }

  private func failDisk(_ node: SimulatedNode) {
    guard node.member != nil else { return }
    note("disk fails", node)
    node.hasDiskFault = true
    switch random.below(4) {
    case 0: node.files.fail(.syncData)
    case 1: node.files.fail(.write, skip: random.below(3))
    case 2: node.files.fail([.preallocate, .rename, .syncDirectory][random.below(3)])
    default:
      node.files.limit(bytes: node.files.usedBytes)
      later(milliseconds(100, 4000)) { node.files.limit(bytes: nil) }
    }
  }

  private func failStorage(_ node: SimulatedNode) {
    guard let member = node.member else { return }
    note("store cannot commit", node)
    member.storage.setCommitFault(.diskFull(during: "commit"))
    later(milliseconds(100, 4000)) { [weak member] in member?.storage.setCommitFault(nil) }
  }

  /// Stops a member, and flips a bit of what its log holds for sure: of a segment that is full.
  private func flipBit(_ node: SimulatedNode) {
    guard let member = node.member, node.flipped == nil, !member.isWriting, !member.isStalled
    else { return }
    let last = member.log.lastIndex
    stop(node, isPowerLost: false, restartAfter: milliseconds(100, 2000))
    let prefix = SimulatedMember.directory + "/"
    let names = (try? node.files.list(SimulatedMember.directory)) ?? []
    let segments = names.filter { $0.hasSuffix(".log") }.sorted()
    // The last may be empty yet, and in the one before a flip may look like a torn end.
    guard segments.count > 2, let content = node.files.content(prefix + segments[0]) else { return }
    let offset = random.below(content.count)
    let bit = random.below(8)
    note("bit flips", node, UInt64(offset))
    node.files.flip(bit: bit, of: prefix + segments[0], at: offset)
    node.flipped = (prefix + segments[0], offset, bit, last)
  }

  // MARK: The end of faults

  func heal() throws {
    note("all heals", nil)
    isFaulty = false
    network.heal()
    provenNodes.removeAll()
    for node in nodes {
      node.files.limit(bytes: nil)
      node.crashesAfterVote = false
      node.syncMicrosecondsMax = SimulatedNode.syncMicrosecondsUsual
      node.member?.storage.setCommitFault(nil)
      if node.isPaused { try resume(node) }
    }
    // Somebody tries each of the members.
    for node in nodes { probe(node) }
  }

  private func probe(_ node: SimulatedNode) {
    guard !provenNodes.contains(node.number), !node.isRetired,
      !oracle.membership.removed.contains(node.id),
      now < healTime + Self.progressNanosecondsMax
    else { return }
    later(milliseconds(100, 1500)) { [unowned self] in
      let request = ClientRequest(put: .init(key: Array("probe".utf8), value: [1]))
      try issue(request, SimulatedClient(number: 1000 + node.number), to: node)
      probe(node)
    }
  }
}
