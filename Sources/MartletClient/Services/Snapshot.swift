import Proto
import RPC

/// The bytes of a member's database, piece by piece, with a checksum at their end.
///
/// A slow reader holds the member back. When the connection is lost the sequence throws: begin again,
/// the database has moved on. Leaving the loop ends the transfer.
public struct Snapshot: AsyncSequence, Sendable {
  public typealias Element = Piece
  public typealias Failure = ClientError

  let scope: CallScope
  let endpoint: String?

  /// A run of bytes.
  public struct Piece: Hashable, Sendable {
    public var bytes: [UInt8]
    /// How many bytes follow.
    public var remainingBytes: UInt64
    /// The version of the server; empty where it is too old to tell.
    public var version: String
  }

  public func makeAsyncIterator() -> AsyncIterator {
    AsyncIterator(scope: scope, endpoint: endpoint)
  }

  public struct AsyncIterator: AsyncIteratorProtocol {
    fileprivate let scope: CallScope
    fileprivate let endpoint: String?
    private var stream: OpenStream<Etcdserverpb.SnapshotResponse>?
    private var isOver = false

    fileprivate init(scope: CallScope, endpoint: String?) {
      self.scope = scope
      self.endpoint = endpoint
    }

    public mutating func next() async throws -> Piece? {
      try await next(isolation: nil)
    }

    public mutating func next(
      isolation actor: isolated (any Actor)?
    ) async throws(ClientError) -> Piece? {
      guard !isOver else { return nil }
      do throws(ClientError) {
        let response: Etcdserverpb.SnapshotResponse?
        if let stream {
          response = try await stream.next()
        } else {
          let (opened, first) = try await scope.openStream("Maintenance/Snapshot", at: endpoint) {
            attempt async throws(RPCError) in
            try await MaintenanceClient(attempt.client).snapshot(
              Etcdserverpb.SnapshotRequest(),
              options: attempt.streamOptions
            )
          }
          stream = opened
          response = first
        }
        guard let response else {
          isOver = true
          return nil
        }
        return Piece(
          bytes: response.blob,
          remainingBytes: response.remainingBytes,
          version: response.version
        )
      } catch {
        isOver = true
        throw error
      }
    }
  }
}
