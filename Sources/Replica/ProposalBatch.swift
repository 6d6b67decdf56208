package import Base
package import Proto

/// The operations that go through the log. Raw values are the field numbers of
/// `etcdserverpb.InternalRaftRequest`, the message that every entry holds.
package enum ReplicatedOperation: Int, Sendable {
  case put = 4
  case deleteRange = 5
  case txn = 6
  case compaction = 7
  case leaseGrant = 8
  case leaseRevoke = 9
  case alarm = 10
  case leaseCheckpoint = 11
  case authEnable = 1000
  case authDisable = 1011
  /// A user has shown the password, at the member that proposes this, and gets a token.
  case authenticate = 1012
  case authUserAdd = 1100
  case authUserDelete = 1101
  case authUserChangePassword = 1103
  case authUserGrantRole = 1104
  case authUserRevokeRole = 1105
  case authRoleAdd = 1200
  case authRoleDelete = 1201
  case authRoleGrantPermission = 1203
  case authRoleRevokePermission = 1204
  case clusterVersionSet = 1300
  case clusterMemberAttributes = 1301
  case downgradeInfoSet = 1302
  case leaseUpkeep = 2000
}

/// The user in whose name a request was proposed, and the auth revision at which the user's token
/// was made. Travels with the entry, so that every member checks the same permissions.
package struct Proposer: Sendable, Hashable {
  package var username: String
  package var authRevision: UInt64

  package init(username: String, authRevision: UInt64) {
    self.username = username
    self.authRevision = authRevision
  }
}

/// Proposals that one thread gathers and hands to the replica in one piece.
///
/// The block is a run of frames, each a 32-bit little-endian length and an encoded
/// `InternalRaftRequest`: exactly the bytes of the log entry, so nothing is copied again on the
/// way into the log.
package struct ProposalBatch: ~Copyable {
  /// `InternalRaftRequest.header`, a `RequestHeader` whose `ID` holds the proposer's epoch.
  static let headerField = 100
  /// `InternalRaftRequest.ID`, which holds the `RequestHandle`.
  static let idField = 1
  /// `InternalRaftRequest.corruption`.
  static let corruptionField = 2001
  static let frameHeaderBytes = 4
  /// The most memory that a batch starts with.
  static let capacityMax = 1 << 20

  private var writer: ByteWriter
  private let epoch: UInt64
  private let capacity: Int
  package private(set) var count = 0

  /// An empty batch. The epoch tells this process's handles from those of others and of earlier
  /// starts.
  package init(epoch: UInt64, capacity: Int = 16 * 1024) {
    self.epoch = epoch
    self.capacity = capacity
    writer = ByteWriter(capacity: capacity)
  }

  package var isEmpty: Bool { count == 0 }

  package var byteCount: Int { writer.count }

  /// Adds one request in the bytes it came in. `proposer` is nil when authentication is off or the
  /// member itself proposes; `handle` is `.none` in the latter case only, and such an entry is
  /// applied without a look at permissions.
  package mutating func append(
    _ operation: ReplicatedOperation,
    handle: RequestHandle,
    request: UnsafeRawBufferPointer,
    proposer: Proposer? = nil
  ) {
    let start = writer.count
    writer.append(integer: UInt32(0))
    writer.append(field: Self.idField, varint: handle.rawValue)
    writer.append(field: operation.rawValue, content: request)
    if var proposer {
      let header = writer.count
      writer.append(field: 1, varint: epoch)
      proposer.username.withUTF8 { writer.append(field: 2, content: UnsafeRawBufferPointer($0)) }
      writer.append(field: 3, varint: proposer.authRevision)
      writer.closeField(Self.headerField, since: header)
    } else {
      writer.append(
        field: Self.headerField,
        lengthOfContent: 1 + ByteWriter.varintLength(epoch)
      )
      writer.append(varint: 1 << 3)
      writer.append(varint: epoch)
    }
    let length = writer.count - start - Self.frameHeaderBytes
    writer.overwrite(integer: UInt32(length).littleEndian, at: start)
    count += 1
  }

  /// Adds a frame with a header and what `body` appends.
  mutating func appendFrame(handle: RequestHandle, _ body: (inout ByteWriter) -> Void) {
    let start = writer.count
    writer.append(integer: UInt32(0))
    writer.append(field: Self.idField, varint: handle.rawValue)
    let header = writer.count
    writer.append(field: 1, varint: epoch)
    writer.closeField(Self.headerField, since: header)
    body(&writer)
    let length = writer.count - start - Self.frameHeaderBytes
    writer.overwrite(integer: UInt32(length).littleEndian, at: start)
    count += 1
  }

  /// Adds the raising of the alarm CORRUPT, by the member itself, with what shows that it is due.
  /// `.none` accuses no member but all of them.
  package mutating func append(
    corruptionOf member: MemberID,
    _ report: Etcdserverpb.CorruptionReport
  ) {
    let alarm = Etcdserverpb.AlarmRequest(
      action: .activate,
      memberID: member.rawValue,
      alarm: .corrupt
    )
    appendFrame(handle: .none) { writer in
      let parts = [
        (ReplicatedOperation.alarm.rawValue, alarm.encoded()),
        (Self.corruptionField, report.encoded()),
      ]
      for (field, content) in parts {
        content.withUnsafeBytes { writer.append(field: field, content: $0) }
      }
    }
  }

  /// Hands over what was gathered and starts anew.
  package mutating func take() -> ByteBlock {
    count = 0
    // The next batch is likely to be about as large, so it need not grow step by step.
    let next = min(max(writer.count + writer.count / 4, capacity), Self.capacityMax)
    return writer.takeBlock(nextCapacity: next)
  }

  /// The calls, by their numbers on their event loop, whose requests are in a block.
  package static func calls(in block: ByteBlock) -> [UInt64] {
    requests(in: block).map { request in
      request.withUnsafeBytes { InternalRequest.handle(in: $0).call }
    }
  }

  /// A block as `take()` makes them, of requests that were in others.
  package static func block(of requests: [SharedBytes]) -> ByteBlock {
    var writer = ByteWriter(
      capacity: requests.reduce(0) { $0 + $1.count + frameHeaderBytes }
    )
    for request in requests {
      writer.append(integer: UInt32(request.count).littleEndian)
      request.withUnsafeBytes { writer.append($0) }
    }
    return writer.takeBlock(nextCapacity: 0)
  }

  /// The call, by its number on its event loop, of a request; and whether the request, which is not
  /// done, may be proposed again: the answer to a compaction may come long after it is done.
  package static func call(of request: SharedBytes) -> (call: UInt64, mayRepeat: Bool) {
    request.withUnsafeBytes { bytes in
      let isCompaction = InternalRequest(bytes, epoch: 0).operation == .compaction
      return (InternalRequest.handle(in: bytes).call, !isCompaction)
    }
  }

  /// The requests of a block that `take()` made, as slices of it.
  package static func requests(in block: ByteBlock) -> [SharedBytes] {
    var requests: [SharedBytes] = []
    var offset = 0
    while offset < block.count {
      let length = Int(
        UInt32(littleEndian: block.bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
      )
      let start = offset + frameHeaderBytes
      requests.append(SharedBytes(block, start..<start + length))
      offset = start + length
    }
    return requests
  }
}
