import Base
import Membership
import Replica

/// Changes who is in the cluster: adds, promotes, updates and removes members as an operator does
/// who looks at the member list first, and now and then asks for what cannot be.
final class OperatorClient: SimulatedClient {
  static let membersMax = 6
  static let votersMax = 5
  /// How many machines one run may need.
  static let nodesMax = 14

  override var pauseMillisecondsMax: Int { 2500 }

  override func next(_ simulation: Simulation) -> ClientRequest {
    if let lost = simulation.lostMember {
      // Nothing else before it is replaced.
      return simulation.oracle.membership.allowsRemoving(lost)
        ? .membership(MembershipChange(.remove, lost)) : .memberList
    }
    guard simulation.isFaulty, !simulation.random.oneIn(4),
      let change = change(simulation.oracle.membership, simulation)
    else { return .memberList }
    return .membership(change)
  }

  /// Only the leader promotes.
  override func target(_ request: ClientRequest, _ simulation: Simulation) -> SimulatedNode? {
    guard case .membership(let change) = request, change.kind == .promote else { return nil }
    return simulation.leader
  }

  private func change(_ known: MembershipModel, _ simulation: Simulation) -> MembershipChange? {
    guard let member = known.members.randomElement(using: &simulation.random) else { return nil }
    switch simulation.random.below(12) {
    case 0...2: return add(isLearner: false, known, simulation)
    case 3, 4: return add(isLearner: true, known, simulation)
    case 5, 6: return known.learners.first.map { MembershipChange(.promote, $0) }
    case 7...9: return remove(member, known, simulation)
    case 10:
      let url = "http://\(member.id)-\(simulation.takeToken()):2380"
      return MembershipChange(.update(peerURLs: [url]), member.id)
    default: return impossible(member, known, simulation)
    }
  }

  /// Whether enough machines are on that a quorum of `voters` is there.
  private func isHealthy(_ voters: [MemberID], of count: Int, _ simulation: Simulation) -> Bool {
    let up = voters.count { id in
      simulation.nodes.contains { $0.id == id && $0.isUp && !$0.isPaused }
    }
    return up >= count / 2 + 1 || simulation.random.oneIn(4)
  }

  private func add(
    isLearner: Bool,
    _ known: MembershipModel,
    _ simulation: Simulation
  ) -> MembershipChange? {
    guard known.members.count < Self.membersMax, simulation.nodes.count < Self.nodesMax else {
      return nil
    }
    if !isLearner {
      let count = known.voters.count + 1
      guard count <= Self.votersMax, known.allowsAddingVoter,
        isHealthy(known.voters, of: count, simulation)
      else { return nil }
    }
    let node = simulation.addNode()
    return MembershipChange(
      .add(peerURLs: ["http://\(node.name):2380"], isLearner: isLearner),
      node.id,
      learnersMax: 2
    )
  }

  /// Two voters never become one: who is left could not know that the other is gone for good, and
  /// would wait for it, as with etcd.
  private func remove(
    _ member: MembershipModel.Known,
    _ known: MembershipModel,
    _ simulation: Simulation
  ) -> MembershipChange? {
    let staying = known.voters.filter { $0 != member.id }
    guard member.isLearner || staying.count >= 2, known.allowsRemoving(member.id),
      isHealthy(staying, of: staying.count, simulation)
    else { return nil }
    return MembershipChange(.remove, member.id)
  }

  private func impossible(
    _ member: MembershipModel.Known,
    _ known: MembershipModel,
    _ simulation: Simulation
  ) -> MembershipChange? {
    switch simulation.random.below(3) {
    case 0:
      guard let removed = known.removed.randomElement(using: &simulation.random) else { return nil }
      return MembershipChange(.add(peerURLs: ["http://back:2380"], isLearner: false), removed)
    case 1:
      let id = MemberID(simulation.random.next())
      return MembershipChange(.add(peerURLs: member.peerURLs, isLearner: true), id)
    default:
      return MembershipChange(.update(peerURLs: member.peerURLs), MemberID(1))
    }
  }
}
