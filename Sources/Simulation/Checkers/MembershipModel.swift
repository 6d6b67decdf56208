import Base
import Membership
import Proto
import Replica

/// The membership by the simplest means: what every member must know once it has applied the same
/// entries.
struct MembershipModel: Equatable {
  struct Known: Equatable {
    var id: MemberID
    var name = ""
    var peerURLs: [String]
    var clientURLs: [String] = []
    var isLearner = false

    var isStarted: Bool { !name.isEmpty }
  }

  /// In ascending order of ID, as are the removed.
  private(set) var members: [Known] = []
  private(set) var removed: [MemberID] = []

  init(founding table: MemberTable) {
    members = table.members.map { Known(id: $0.id, name: $0.name, peerURLs: $0.peerURLs) }
  }

  subscript(id: MemberID) -> Known? { members.first { $0.id == id } }

  var voters: [MemberID] { members.filter { !$0.isLearner }.map(\.id) }
  var learners: [MemberID] { members.filter(\.isLearner).map(\.id) }

  /// Makes a change, or tells why not and changes nothing.
  mutating func apply(_ change: MembershipChange) -> RequestError? {
    let id = change.memberID
    let place = members.firstIndex { $0.id == id }
    if removed.contains(id) { return .memberNotFound }
    func isTaken(_ urls: [String]) -> Bool {
      members.contains { $0.id != id && $0.peerURLs.contains(where: urls.contains) }
    }
    switch change.kind {
    case .add(let urls, let isLearner):
      if place != nil { return .memberIDExists }
      if isTaken(urls) { return .peerURLExists }
      if isLearner, learners.count >= change.learnersMax { return .tooManyLearners }
      members.append(Known(id: id, peerURLs: urls, isLearner: isLearner))
      members.sort { $0.id < $1.id }
    case .remove:
      guard let place else { return .memberNotFound }
      if voters == [id] { return .notEnoughStarted }
      members.remove(at: place)
      removed.append(id)
      removed.sort()
    case .update(let urls):
      guard let place else { return .memberNotFound }
      if isTaken(urls) { return .peerURLExists }
      members[place].peerURLs = urls
    case .promote:
      guard let place else { return .memberNotFound }
      guard members[place].isLearner else { return .notLearner }
      members[place].isLearner = false
    }
    return nil
  }

  /// A member says of itself how it is called.
  mutating func publish(_ id: MemberID, name: String, clientURLs: [String]) {
    guard let place = members.firstIndex(where: { $0.id == id }) else { return }
    members[place].name = name
    members[place].clientURLs = clientURLs
  }

  /// Whether a member's table says the same.
  func matches(_ table: MemberTable) -> Bool {
    removed == table.removedIDs
      && members
        == table.members.map {
          Known(
            id: $0.id,
            name: $0.name,
            peerURLs: $0.peerURLs,
            clientURLs: $0.clientURLs,
            isLearner: $0.isLearner
          )
        }
  }

  /// What the answer to a change lists.
  var list: Oracle.Outcome {
    let listed = members.map {
      Etcdserverpb.Member(
        id: $0.id.rawValue,
        name: $0.name,
        peerURLs: $0.peerURLs,
        clientURLs: $0.clientURLs,
        isLearner: $0.isLearner
      )
    }
    return .message(Etcdserverpb.MemberListResponse(members: listed).encoded())
  }

  // MARK: What an operator asks before a change

  private func started(except id: MemberID = .none) -> Int {
    members.count { !$0.isLearner && $0.isStarted && $0.id != id }
  }

  /// Whether a quorum would have started with one more voter.
  var allowsAddingVoter: Bool {
    let count = voters.count + 1
    return started() >= count / 2 + 1 || count == 2 && started() == 1
  }

  func allowsRemoving(_ id: MemberID) -> Bool {
    if self[id]?.isLearner ?? true { return true }
    return started(except: id) >= (voters.count - 1) / 2 + 1
  }
}
