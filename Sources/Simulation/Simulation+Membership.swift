import Base
import Membership
import Raft
import Replica
import Storage

// Machines that join and leave.
extension Simulation {
  /// The machines whose members are in the cluster, by the newest applied entry, and that can work.
  var memberNodes: [SimulatedNode] {
    let members = oracle.membership.members
    return nodes.filter { node in !node.isLost && members.contains { $0.id == node.id } }
  }

  /// The member of the cluster whose machine is lost.
  var lostMember: MemberID? {
    nodes.first { $0.isLost && oracle.membership[$0.id] != nil }?.id
  }

  /// Fewer voters than this do not lose a machine: a removal may be under way as well.
  private static let votersToLoseOneMin = 4

  /// A voter's disks are gone for good. What Raft survives is one at a time, and only while it is sure
  /// that nobody else is being removed.
  func loseDisks(of node: SimulatedNode) {
    guard hasOperator, lostMember == nil,
      oracle.membership.voters.count >= Self.votersToLoseOneMin,
      oracle.membership.voters.contains(node.id),
      membershipCalls.allSatisfy(oracle.isDecided)
    else { return }
    note("loses its disks", node)
    count { $0.lostDisks += 1 }
    node.isLost = true
    node.isRetired = true
    end(node, isPowerLost: true)
  }

  /// A machine for a member that is going to be added.
  func addNode() -> SimulatedNode {
    let number = nodes.count
    let name = "m\(number)"
    let node = makeNode(
      name,
      .added(peerURLs: ["http://\(name):2380"], unixTimeSeconds: Int64(number)),
      isJoiner: true
    )
    nodes.append(node)
    network.resize(nodes.count)
    return node
  }

  /// Somebody starts the machines whose members were added.
  func startJoiners() {
    guard oracle.memberships.count != membershipsSeen else { return }
    membershipsSeen = oracle.memberships.count
    count { $0.memberChanges = membershipsSeen - 1 }
    let known = oracle.membership
    for node in nodes where node.isJoiner && !node.isCalled && known[node.id] != nil {
      node.isCalled = true
      later(UInt64(10 + random.below(3000)) * 1_000_000) { [unowned self] in try start(node) }
    }
  }

  /// What a machine without data starts from; nil while no peer knows of it. With data it needs nobody.
  func origin(of node: SimulatedNode) -> StoredMetadata? {
    guard node.isJoiner, node.disk.content(at: SimulatedStorage.path) == nil else {
      return StoredMetadata(founding: founding)
    }
    let peers = nodes.compactMap(\.member).filter { $0.machine.members[node.id] != nil }
    return peers.randomElement(using: &random).map { StoredMetadata(joining: $0.machine.members) }
  }

  /// A removed member stops, for good.
  func retire(_ node: SimulatedNode) {
    guard !node.isRetired else { return }
    note("is retired", node)
    count { $0.retired += 1 }
    node.isRetired = true
    end(node, isPowerLost: false)
  }

  /// Whoever is removed has no say at the end, and, where peers refuse it, is gone.
  func checkRemoved() throws {
    for node in nodes {
      guard let member = node.member, oracle.membership.removed.contains(node.id) else { continue }
      let role = member.machine.status.role
      guard !refusesRemoved, role != .leader else {
        throw Violation(.membership, "m\(node.number) was removed and is still there, a \(role)")
      }
    }
  }

  /// The members as a machine knows them, at a moment that is linearizable: every change that was
  /// acknowledged before must be there.
  func listMembers(_ number: UInt64, _ member: SimulatedMember) throws {
    guard let call = calls[number] else { return }
    let applied = member.machine.status.applied.rawValue
    guard applied >= call.membershipFloor else {
      throw Violation(
        .membership,
        "m\(member.node.number) lists the members of \(applied), change \(call.membershipFloor) "
          + "was acknowledged"
      )
    }
    count { $0.reads += 1 }
    reply(number, .outcome(.message([])))
  }
}
