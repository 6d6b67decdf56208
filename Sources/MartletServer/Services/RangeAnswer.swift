import Base
import MVCC
import Proto
import RPC
import Replica

/// The answer to one range, made on the threads of the reader pool: a long one in parts, so that
/// its beginning is on its way while the rest is being made, and never all of it in memory.
final class RangeAnswer: @unchecked Sendable {
  // Used by one pool thread at a time.
  private let request: SharedBytes
  private let member: MemberContext
  private var pieces: RangePieces?

  private static let pieceBytesMax = 128 << 10
  /// What the length of a gRPC message can say.
  private static let messageBytesMax = Int(UInt32.max)

  init(_ request: SharedBytes, _ member: MemberContext) {
    self.request = request
    self.member = member
  }

  /// Writes the next part of the response; see `PumpedStream`.
  func next(
    reader: StoreReader,
    into piece: inout ByteWriter,
    _ announce: (Int) -> Void
  ) -> PumpedStream.Step {
    do throws(StoreError) {
      if let pieces { return try part(of: pieces, reader, &piece) }
      return try first(reader, &piece, announce)
    } catch {
      return .failed(RPCStatus(RequestError(error)))
    }
  }

  private func first(
    _ reader: StoreReader,
    _ piece: inout ByteWriter,
    _ announce: (Int) -> Void
  ) throws(StoreError) -> PumpedStream.Step {
    let arena = Arena()
    let view: Etcdserverpb.RangeRequest.View = ReadRequest.decode(request, in: arena)
    guard Store.isStreamable(view), !view.countOnly else {
      try member.store.range(view, header: member.header, reader: reader, into: &piece)
      return begin(length: piece.count, announce) ?? .last
    }
    let pieces = try member.store.rangePieces(view, header: member.header)
    self.pieces = pieces
    if let failure = begin(length: try pieces.measure(reader: reader), announce) { return failure }
    return try part(of: pieces, reader, &piece)
  }

  private func begin(length: Int, _ announce: (Int) -> Void) -> PumpedStream.Step? {
    guard length <= Self.messageBytesMax else {
      return .failed(
        .resourceExhausted("martlet: a response of \(length) bytes does not fit one message")
      )
    }
    announce(length)
    return nil
  }

  private func part(
    of pieces: RangePieces,
    _ reader: StoreReader,
    _ piece: inout ByteWriter
  ) throws(StoreError) -> PumpedStream.Step {
    try pieces.next(bytesMax: Self.pieceBytesMax, reader: reader, into: &piece) ? .more : .last
  }
}
