import Base
import Proto

/// What an entry's `InternalRaftRequest` says at its top level; the request itself stays encoded.
struct InternalRequest {
  /// Where the answer goes; `.none` when the proposer was not this process.
  private(set) var handle = RequestHandle.none
  /// Whether a member proposed this by itself, for no client: see `ProposalBatch.append`. It is the
  /// entry that says so, in the same way on every member and on replay.
  private(set) var isFromMember = false
  private(set) var operation: ReplicatedOperation?
  /// The encoded request of `operation`, valid as long as the bytes it was found in.
  private(set) var request = UnsafeRawBufferPointer(start: nil, count: 0)
  /// The encoded `CorruptionReport`, empty when there is none; valid as long as `request`.
  private(set) var corruption = UnsafeRawBufferPointer(start: nil, count: 0)
  /// The proposer's name, empty when there is none; valid as long as `request`.
  private(set) var username = UnsafeRawBufferPointer(start: nil, count: 0)
  /// The auth revision of the proposer's token.
  private(set) var authRevision: UInt64 = 0

  /// Reads the top level of `bytes`. Fields that this build does not know are skipped; what follows
  /// a malformed field is not seen, the same way on every member.
  init(_ bytes: UnsafeRawBufferPointer, epoch: UInt64) {
    var id = RequestHandle(rawValue: 0)
    var isOurs = false
    var scanner = WireScanner(bytes)
    while let field = try? scanner.next() {
      switch (field.number, field.value) {
      case (ProposalBatch.idField, .varint(let number)):
        id = RequestHandle(rawValue: number)
      case (ProposalBatch.headerField, .content(let header)):
        isOurs = readHeader(header) == epoch
      case (ProposalBatch.corruptionField, .content(let content)):
        corruption = content
      case (let number, .content(let content)):
        guard let operation = ReplicatedOperation(rawValue: number) else { break }
        self.operation = operation
        request = content
      default:
        break
      }
    }
    isFromMember = id == .none
    if isOurs { handle = id }
  }

  /// The handle in an encoded request, whoever made it.
  static func handle(in bytes: UnsafeRawBufferPointer) -> RequestHandle {
    var scanner = WireScanner(bytes)
    while let field = try? scanner.next() {
      if field.number == ProposalBatch.idField, case .varint(let number) = field.value {
        return RequestHandle(rawValue: number)
      }
    }
    return RequestHandle(rawValue: 0)
  }

  /// Reads a `RequestHeader` and returns its `ID`.
  private mutating func readHeader(_ header: UnsafeRawBufferPointer) -> UInt64? {
    var epoch: UInt64?
    var scanner = WireScanner(header)
    while let field = try? scanner.next() {
      switch (field.number, field.value) {
      case (1, .varint(let number)): epoch = number
      case (2, .content(let name)): username = name
      case (3, .varint(let number)): authRevision = number
      default: break
      }
    }
    return epoch
  }
}
