package import Base

/// Who is in the cluster, who was, and what is known of each: a value without I/O, changed only
/// by applied log entries, so that it is equal on every member at equal indexes.
///
/// Each change either succeeds or throws and leaves the table as it was.
package struct MemberTable: Hashable, Sendable {
  package let clusterID: ClusterID
  /// In ascending order of ID.
  package private(set) var members: [Member]
  /// IDs that may never be used again. Ascending.
  package private(set) var removedIDs: [MemberID]
  /// The version that all members understand, as `3.6`; empty until the leader has found it.
  package private(set) var clusterVersion = ""

  /// How many members, and how many URLs of one kind per member, a table may hold.
  package static let memberCountMax = 1024
  package static let urlCountMax = 64

  /// The table of a cluster without members yet.
  package init(clusterID: ClusterID) {
    self.clusterID = clusterID
    members = []
    removedIDs = []
  }

  /// The table of a new cluster. Every founder computes the same one.
  package init(founding cluster: InitialCluster, token: String) throws(MembershipError) {
    let founders = cluster.entries.map { Member(founding: $0, token: token) }
    self.init(clusterID: .founded(by: founders.map(\.id)))
    for member in founders { try add(member) }
  }

  init(
    clusterID: ClusterID,
    members: [Member],
    removedIDs: [MemberID],
    clusterVersion: String
  ) {
    self.clusterID = clusterID
    self.members = members
    self.removedIDs = removedIDs
    self.clusterVersion = clusterVersion
  }

  /// Leaves the names to what the members will say of themselves.
  package mutating func forgetNames() {
    for place in members.indices { members[place].name = "" }
  }

  /// Records the version that the cluster works at.
  package mutating func setClusterVersion(_ version: String) {
    clusterVersion = version
  }

  package subscript(id: MemberID) -> Member? {
    position(of: id).map { members[$0] }
  }

  /// The member called `name`; none when the name is empty.
  package func member(named name: String) -> Member? {
    name.isEmpty ? nil : members.first { $0.name == name }
  }

  package func isRemoved(_ id: MemberID) -> Bool {
    let place = removedIDs.partitionPoint { $0 < id }
    return place < removedIDs.count && removedIDs[place] == id
  }

  package var voters: [Member] { members.filter { !$0.isLearner } }
  package var learners: [Member] { members.filter(\.isLearner) }

  private func position(of id: MemberID) -> Int? {
    let place = members.partitionPoint { $0.id < id }
    return place < members.count && members[place].id == id ? place : nil
  }

  private func knownPosition(of id: MemberID) throws(MembershipError) -> Int {
    if isRemoved(id) { throw .removed(id) }
    guard let place = position(of: id) else { throw .notFound(id) }
    return place
  }

  private func checkPeerURLs(
    _ urls: [String],
    exceptOf id: MemberID?
  ) throws(MembershipError) {
    guard !urls.isEmpty, urls.count <= Self.urlCountMax else { throw .badPeerURLs }
    for url in urls {
      do { _ = try ServerURL(url) } catch { throw .badPeerURLs }
    }
    for member in members where member.id != id {
      for url in member.peerURLs where urls.contains(url) { throw .peerURLExists(url) }
    }
  }

  /// Adds a member, as a voter or a learner.
  ///
  /// Throws `.removed`, `.idExists`, `.badPeerURLs`, `.peerURLExists` or `.tooManyMembers`.
  package mutating func add(_ member: Member) throws(MembershipError) {
    precondition(member.id != .none)
    if isRemoved(member.id) { throw .removed(member.id) }
    if position(of: member.id) != nil { throw .idExists(member.id) }
    try checkPeerURLs(member.peerURLs, exceptOf: nil)
    guard members.count < Self.memberCountMax else { throw .tooManyMembers }
    members.insert(member, at: members.partitionPoint { $0.id < member.id })
  }

  /// Removes a member; its ID never comes back. Throws `.removed` or `.notFound`.
  package mutating func remove(_ id: MemberID) throws(MembershipError) {
    members.remove(at: try knownPosition(of: id))
    removedIDs.insert(id, at: removedIDs.partitionPoint { $0 < id })
  }

  /// Replaces a member's peer URLs; name, client URLs and the learner flag stay.
  ///
  /// Throws `.removed`, `.notFound`, `.badPeerURLs` or `.peerURLExists`.
  package mutating func update(
    _ id: MemberID,
    peerURLs: [String]
  ) throws(MembershipError) {
    let place = try knownPosition(of: id)
    try checkPeerURLs(peerURLs, exceptOf: id)
    members[place].peerURLs = peerURLs.sorted(by: lexicallyByBytes)
  }

  /// Makes a learner a voter. Throws `.removed`, `.notFound` or `.notLearner`.
  package mutating func promote(_ id: MemberID) throws(MembershipError) {
    let place = try knownPosition(of: id)
    guard members[place].isLearner else { throw .notLearner(id) }
    members[place].isLearner = false
  }

  /// Records what a started member says of itself. Throws `.removed`, `.notFound` or
  /// `.tooManyClientURLs`.
  package mutating func setAttributes(
    _ id: MemberID,
    name: String,
    clientURLs: [String]
  ) throws(MembershipError) {
    let place = try knownPosition(of: id)
    guard clientURLs.count <= Self.urlCountMax else { throw .tooManyClientURLs }
    members[place].name = name
    members[place].clientURLs = clientURLs
  }
}

/// Why a change of membership was refused.
package enum MembershipError: Error, Hashable, Sendable {
  /// The ID belonged to a member that was removed.
  case removed(MemberID)
  case notFound(MemberID)
  case idExists(MemberID)
  /// The URL belongs to another member.
  case peerURLExists(String)
  /// None, too many, or one that is no URL.
  case badPeerURLs
  case tooManyClientURLs
  case notLearner(MemberID)
  case tooManyMembers
  case tooManyLearners
}

extension Array {
  /// The first index whose element does not satisfy `precedes`; the array must be ordered by it.
  func partitionPoint(_ precedes: (Element) -> Bool) -> Int {
    var low = 0
    var high = count
    while low < high {
      let middle = low + (high - low) / 2
      if precedes(self[middle]) { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
