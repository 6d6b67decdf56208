package import Base

/// Which members' data differs, from the hashes that they had at one applied index.
package struct HashComparison: Equatable {
  /// The members whose data is not to be trusted, ascending; `.none` when it may be anybody's.
  package var suspects: [MemberID]
  /// Whether a majority agrees; without one the leader is believed.
  package var isByMajority: Bool

  /// `hashes` has this member, which leads, and the others that are known at the index; the
  /// cluster has `memberCount` members. Members that do not answer are on nobody's side.
  ///
  /// With a majority behind one hash all others are wrong, be it the leader. Without one, those are
  /// that differ from the leader, as in etcd's periodic check; when no leader is given nobody is
  /// believed, as in etcd's check of compactions.
  package init(_ hashes: [(member: MemberID, hash: UInt64)], leader: MemberID?, memberCount: Int) {
    let values = Set(hashes.map(\.hash)).sorted()
    let counted = values.map { value in (value, hashes.count { $0.hash == value }) }
    let majority = counted.first { $0.1 * 2 > memberCount }?.0
    isByMajority = majority != nil
    guard majority != nil || leader != nil else {
      suspects = values.count > 1 ? [.none] : []
      return
    }
    let believed = majority ?? hashes.first { $0.member == leader }?.hash
    suspects = hashes.filter { $0.hash != believed }.map(\.member)
      .sorted { $0.rawValue < $1.rawValue }
  }
}
