import Auth
import Base
import MVCC
import Proto
import RPC
import Replica
import Storage

/// A read that cannot be answered while its bytes are at hand: it waits for a linearizable moment
/// or for a thread of the reader pool.
enum ReadRequest: Sendable {
  case range(SharedBytes)
  case txn(SharedBytes)
  case memberList
  /// The keys that the user may read; all of them while authentication is off.
  case leaseTimes(LeaseID, withKeys: Bool, UserAccess?)
  case leaseList
  /// Answered by this, on the event loop.
  case onLoop(@Sendable (ServerCall) -> Void)

  /// What a request without bytes counts as.
  private static let smallRequestBytes = 64

  /// What the request weighs.
  var byteCount: Int {
    switch self {
    case .range(let bytes), .txn(let bytes): bytes.count
    default: Self.smallRequestBytes
    }
  }

  /// Writes the whole response.
  func answer(
    from member: MemberContext,
    reader: StoreReader,
    arena: Arena,
    into reply: inout ByteWriter
  ) throws(StoreError) {
    arena.reset()
    switch self {
    case .range(let bytes):
      let view: Etcdserverpb.RangeRequest.View = Self.decode(bytes, in: arena)
      try member.store.range(view, header: member.header, reader: reader, into: &reply)
    case .txn(let bytes):
      let view: Etcdserverpb.TxnRequest.View = Self.decode(bytes, in: arena)
      try member.store.readOnlyTxn(view, header: member.header, reader: reader, into: &reply)
    case .memberList:
      member.encodeMemberList(into: &reply)
    case .leaseTimes(let lease, let withKeys, let access):
      member.encodeLeaseTimes(lease, withKeys: withKeys, access, into: &reply)
    case .leaseList:
      member.encodeLeaseList(into: &reply)
    case .onLoop:
      preconditionFailure("a read of the event loop came to the pool")
    }
  }

  /// Decodes bytes that were decoded before, when the request came in.
  static func decode<View: MessageView>(_ bytes: SharedBytes, in arena: Arena) -> View {
    do {
      // The caller holds `bytes` for as long as the view is used.
      return try bytes.withUnsafeBytes { bytes throws(DecodeError) in
        try View(decoding: bytes, in: arena)
      }
    } catch {
      preconditionFailure("a request that decoded once does not again: \(error)")
    }
  }
}
