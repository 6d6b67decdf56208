package import Base
package import Membership
import Proto
package import Raft

/// A change of the membership that somebody asked for, as its log entry carries it: the entry is a
/// configuration entry, and these bytes are its context.
///
/// The bytes are laid out like an `InternalRaftRequest`: field 1 is the handle of the call that
/// waits, field 100 the header with the proposer's epoch. Field 2008 is the most learners that the
/// proposer allows, 2009 the member's ID, and one of 2010 to 2013 the request, empty where the ID
/// says all. The ID of a member that is added was computed by the proposer.
package struct MembershipChange: Sendable, Hashable {
  package enum Kind: Sendable, Hashable {
    case add(peerURLs: [String], isLearner: Bool)
    case remove
    case update(peerURLs: [String])
    case promote
  }

  package var memberID: MemberID
  package var kind: Kind
  /// How many learners there may be once one is added or promoted. It travels with the change, so
  /// that members started with different flags agree.
  package var learnersMax: Int

  package init(_ kind: Kind, _ memberID: MemberID, learnersMax: Int = .max) {
    self.kind = kind
    self.memberID = memberID
    self.learnersMax = learnersMax
  }

  private enum Field {
    static let learnersMax = 2008
    static let memberID = 2009
    static let add = 2010
    static let remove = 2011
    static let update = 2012
    static let promote = 2013
  }

  // MARK: Bytes

  /// Appends all but handle and header.
  func encode(into writer: inout ByteWriter) {
    if learnersMax != .max { writer.append(field: Field.learnersMax, varint: Int64(learnersMax)) }
    writer.append(field: Field.memberID, varint: memberID.rawValue)
    let start = writer.count
    switch kind {
    case .add(let peerURLs, let isLearner):
      Etcdserverpb.MemberAddRequest(peerURLs: peerURLs, isLearner: isLearner).encode(into: &writer)
      writer.closeField(Field.add, since: start)
    case .remove:
      writer.closeField(Field.remove, since: start)
    case .update(let peerURLs):
      Etcdserverpb.MemberUpdateRequest(peerURLs: peerURLs).encode(into: &writer)
      writer.closeField(Field.update, since: start)
    case .promote:
      writer.closeField(Field.promote, since: start)
    }
  }

  /// Reads what a context says, or nil when it says nothing that this build knows.
  package init?(_ context: UnsafeRawBufferPointer) {
    var memberID = MemberID.none
    var kind: Kind?
    var learnersMax = Int.max
    var scanner = WireScanner(context)
    while let field = try? scanner.next() {
      switch (field.number, field.value) {
      case (Field.learnersMax, .varint(let count)): learnersMax = Int(clamping: count)
      case (Field.memberID, .varint(let id)): memberID = MemberID(id)
      case (let number, .content(let content)): kind = Self.kind(number, content) ?? kind
      default: break
      }
    }
    guard let kind, memberID != .none else { return nil }
    self.init(kind, memberID, learnersMax: learnersMax)
  }

  private static func kind(_ field: Int, _ content: UnsafeRawBufferPointer) -> Kind? {
    switch field {
    case Field.add:
      (try? Etcdserverpb.MemberAddRequest(decoding: content)).map {
        .add(peerURLs: $0.peerURLs, isLearner: $0.isLearner)
      }
    case Field.remove: .remove
    case Field.update:
      (try? Etcdserverpb.MemberUpdateRequest(decoding: content)).map {
        .update(peerURLs: $0.peerURLs)
      }
    case Field.promote: .promote
    default: nil
    }
  }

  // MARK: Effect

  /// What Raft does for this change.
  package var raftChange: ConfChange.Change {
    switch kind {
    case .add(_, let isLearner): .init(isLearner ? .addLearner : .addVoter, memberID)
    case .remove: .init(.removeNode, memberID)
    case .update: .init(.updateNode, memberID)
    case .promote: .init(.addVoter, memberID)
    }
  }

  /// The configuration change whose context is `context`, this change's bytes.
  package func confChange(context: SharedBytes) -> ConfChange {
    ConfChange(changes: [raftChange], context: context)
  }

  /// The configuration change of nobody's call.
  package var confChange: ConfChange {
    var writer = ByteWriter(capacity: 64)
    encode(into: &writer)
    return confChange(context: SharedBytes(copying: writer.bytes))
  }

  /// Makes the change in the member table, or throws and leaves the table as it was.
  package func make(in members: inout MemberTable) throws(RequestError) {
    do throws(MembershipError) {
      switch kind {
      case .add(let peerURLs, let isLearner):
        var changed = members
        try changed.add(Member(id: memberID, peerURLs: peerURLs, isLearner: isLearner))
        if isLearner && changed.learners.count > learnersMax { throw .tooManyLearners }
        members = changed
      case .remove:
        try members.remove(memberID)
      case .update(let peerURLs):
        try members.update(memberID, peerURLs: peerURLs)
      case .promote:
        try members.promote(memberID)
      }
    } catch {
      throw RequestError(error)
    }
  }

  /// Makes the change in the table and in Raft's membership, or in neither.
  package func make(
    in members: inout MemberTable,
    _ confState: inout ConfState
  ) throws(RequestError) {
    var table = members
    try make(in: &table)
    do {
      confState = try ConfChanger.apply(ConfChange(changes: [raftChange]), to: confState)
    } catch {
      // The last voter would go, or a joint configuration is not over.
      throw .notEnoughStarted
    }
    members = table
  }
}

extension RequestError {
  package init(_ error: MembershipError) {
    switch error {
    case .removed, .notFound: self = .memberNotFound
    case .idExists: self = .memberIDExists
    case .peerURLExists: self = .peerURLExists
    case .badPeerURLs, .tooManyClientURLs: self = .badMemberURLs
    case .notLearner: self = .notLearner
    case .tooManyLearners: self = .tooManyLearners
    case .tooManyMembers: self = .tooManyRequests
    }
  }
}

extension ProposalBatch {
  /// Adds a change of the membership. Such a block is for `ReplicaMachine.receive(membership:)`.
  package mutating func append(_ change: MembershipChange, handle: RequestHandle) {
    appendFrame(handle: handle) { change.encode(into: &$0) }
  }
}
