package import Base

/// What every response's header says besides the revision.
package struct ResponseHeader: Sendable, Hashable {
  package var clusterID: ClusterID
  package var memberID: MemberID
  package var raftTerm: Term

  package init(clusterID: ClusterID, memberID: MemberID, raftTerm: Term) {
    self.clusterID = clusterID
    self.memberID = memberID
    self.raftTerm = raftTerm
  }

  /// Appends field 1 of a response: this header with `revision`, zeros left out.
  package func write(revision: Revision, into reply: inout ByteWriter) {
    let fields = (clusterID.rawValue, memberID.rawValue, raftTerm.rawValue)
    let number = UInt64(bitPattern: revision.rawValue)
    let size =
      Self.fieldSize(fields.0) + Self.fieldSize(fields.1) + Self.fieldSize(number)
      + Self.fieldSize(fields.2)
    reply.append(field: 1, lengthOfContent: size)
    reply.append(field: 1, varint: fields.0)
    reply.append(field: 2, varint: fields.1)
    reply.append(field: 3, varint: number)
    reply.append(field: 4, varint: fields.2)
  }

  /// Appends field 1 of a response within a txn: a header with the revision only.
  static func writeNested(revision: Int64, into reply: inout ByteWriter) {
    let number = UInt64(bitPattern: revision)
    reply.append(field: 1, lengthOfContent: fieldSize(number))
    reply.append(field: 3, varint: number)
  }

  @inline(__always)
  private static func fieldSize(_ value: UInt64) -> Int {
    value == 0 ? 0 : 1 + ByteWriter.varintLength(value)
  }
}
