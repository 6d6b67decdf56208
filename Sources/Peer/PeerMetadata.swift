import Base
import Proto
import RPC

/// Who calls whom: the metadata of every call between members, and the checks of both sides.
struct PeerMetadata: Sendable {
  let clusterID: ClusterID
  let from: MemberID
  let to: MemberID
  let serverVersion: String

  /// For a call's `CallOptions`.
  var fields: [(name: String, value: String)] {
    [
      ("martlet-cluster", clusterID.description), ("martlet-from", from.description),
      ("martlet-to", to.description),
      ("martlet-protocol", String(PeerConfiguration.protocolVersion)),
      ("martlet-version", serverVersion),
    ]
  }

  /// What a member that was removed is told by every other.
  static let removedText = "the member has been permanently removed from the cluster"

  /// Checks that a call comes from another member of the cluster and is meant for this one. Returns
  /// who calls; throws the status to refuse it with.
  static func caller(
    of call: ServerCall,
    _ own: PeerConfiguration,
    isRemoved: (MemberID) -> Bool
  ) throws(RPCStatus) -> MemberID {
    guard let version = call.header(named: "martlet-protocol"),
      let cluster = call.header(named: "martlet-cluster").flatMap({ UInt64($0, radix: 16) }),
      let from = call.header(named: "martlet-from").flatMap({ UInt64($0, radix: 16) }),
      let to = call.header(named: "martlet-to").flatMap({ UInt64($0, radix: 16) }), from != 0
    else { throw RPCStatus(.invalidArgument, "not a call of a member: metadata is missing") }
    guard version == String(PeerConfiguration.protocolVersion) else {
      throw RPCStatus(
        .failedPrecondition,
        "peer protocol mismatch: this member speaks \(PeerConfiguration.protocolVersion)"
      )
    }
    guard cluster == own.clusterID.rawValue else {
      throw RPCStatus(
        .failedPrecondition,
        "cluster ID mismatch: this member is of cluster \(own.clusterID)"
      )
    }
    let caller = MemberID(from)
    guard !isRemoved(caller) else { throw RPCStatus(.permissionDenied, removedText) }
    guard to == own.memberID.rawValue, caller != own.memberID else {
      throw RPCStatus(.failedPrecondition, "member ID mismatch: this member is \(own.memberID)")
    }
    return caller
  }

  /// Why the answering side is not who was called; nil when it is.
  func complaint(about greeting: Martletpb.PeerGreeting) -> String? {
    if greeting.protocolVersion != PeerConfiguration.protocolVersion {
      return "peer protocol mismatch: it speaks \(greeting.protocolVersion), "
        + "this member \(PeerConfiguration.protocolVersion)"
    }
    if greeting.clusterID != clusterID.rawValue {
      return "cluster ID mismatch: it is of cluster \(ClusterID(greeting.clusterID))"
    }
    if greeting.memberID != to.rawValue {
      return "member ID mismatch: it is member \(MemberID(greeting.memberID))"
    }
    return nil
  }
}
