import Base
import Membership
import Proto
import Raft
import Replica

// Who is in the cluster, as the entries say.
extension Oracle {
  /// The membership from some entry on.
  struct KnownMembership {
    var index: UInt64
    var model: MembershipModel
  }

  /// The newest one.
  var membership: MembershipModel { memberships[memberships.count - 1].model }

  /// The one after the entry at `index` was applied.
  func membership(at index: UInt64) -> MembershipModel {
    memberships[place(at: index)].model
  }

  /// Which of the memberships that is.
  func place(at index: UInt64) -> Int {
    memberships.lastIndex { $0.index <= index } ?? 0
  }

  /// The voters of whom a majority may have committed the entry at `index`: a change is in force
  /// where it is applied, so those before the last change of voters count as well, and all later ones.
  func votersCommitting(_ index: UInt64) -> [[MemberID]] {
    let voters = memberships.map(\.model.voters)
    let place = place(at: index)
    let before = voters[...place].lastIndex { $0 != voters[place] } ?? place
    return voters[before...].reduce(into: []) { distinct, next in
      if distinct.last != next { distinct.append(next) }
    }
  }

  private func note(_ model: MembershipModel, at index: UInt64) throws(Violation) {
    guard model != membership else { return }
    let known = Set(model.members.map(\.id))
    guard known.isDisjoint(with: membership.removed), known.isDisjoint(with: model.removed) else {
      throw Violation(.membership, "a removed member is back at \(index)")
    }
    memberships.append(KnownMembership(index: index, model: model))
  }

  func apply(
    _ attributes: Membershippb.ClusterMemberAttrSetRequest,
    at index: UInt64
  ) throws(Violation) {
    var model = membership
    model.publish(
      MemberID(attributes.memberID),
      name: attributes.memberAttributes?.name ?? "",
      clientURLs: attributes.memberAttributes?.clientURLs ?? []
    )
    try note(model, at: index)
  }

  func apply(_ change: ConfChange, at index: UInt64) throws(Violation) {
    guard let asked = change.context.withUnsafeBytes({ MembershipChange($0) }) else {
      throw Violation(.membership, "a change at \(index) that nobody asked for")
    }
    var model = membership
    let failure = model.apply(asked)
    try note(model, at: index)
    let request = try? Etcdserverpb.InternalRaftRequest(decoding: change.context.array)
    // A leader promotes for nobody's call.
    guard let handle = request?.id, handle != 0 else { return }
    try noteOutcome(
      of: RequestHandle(rawValue: handle),
      failure.map { .failure($0) } ?? model.list,
      at: index
    )
  }

  /// The hash of all that a member's state is at an index: the first member to be there says what
  /// it is.
  func check(_ hash: StateHash, of member: String) throws(Violation) {
    let index = hash.index.rawValue
    guard let known = fullHashes[index] else {
      fullHashes[index] = hash.hash
      return
    }
    guard known == hash.hash else {
      throw Violation(.equalState, "\(member)'s hash at \(index) is not that of others")
    }
  }
}
