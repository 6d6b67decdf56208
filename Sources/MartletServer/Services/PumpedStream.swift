import Base
import MVCC
import NIOCore
import Proto
import RPC
import Replica

/// A response that the reader pool makes piece by piece, each when the client has taken enough of
/// those before: a slow client costs one piece of memory and no thread.
final class PumpedStream: @unchecked Sendable {
  // `makeNext` runs on one pool thread at a time; everything else happens on the event loop.

  /// What a run of `makeNext` wrote: in a stream of messages one message, in a message of parts
  /// one part.
  enum Step {
    case more
    case last
    case failed(RPCStatus)
  }

  /// How pieces become messages.
  enum Framing {
    /// Each piece is a message.
    case messages
    /// All pieces together are one message.
    case parts
  }

  /// Writes the next piece. The first piece of a message in parts says by `announce` how long the
  /// message is going to be.
  typealias MakeNext =
    @Sendable (StoreReader, inout ByteWriter, _ announce: (Int) -> Void) -> Step

  private let loop: RequestLoop
  private let call: CallID
  private let framing: Framing
  private let makeNext: MakeNext
  private let isDropped: DropFlag
  /// Users and roles must be these when the first piece is made, which pins the revision.
  private var stamp: PublishedAuth.Stamp?
  private var stall: Scheduled<Void>?

  private static let pieceCapacity = 4096
  /// A client that takes nothing for this long is given up: the response may hold a revision.
  private static let stallMax = TimeAmount.seconds(60)

  private init(
    loop: RequestLoop,
    call: CallID,
    framing: Framing,
    stamp: PublishedAuth.Stamp?,
    makeNext: @escaping MakeNext
  ) {
    self.loop = loop
    self.stamp = stamp
    self.call = call
    self.framing = framing
    self.makeNext = makeNext
    isDropped = loop.dropFlag(of: call)
  }

  /// Starts a response that ends with the call. On the event loop. With a stamp, users and roles
  /// must still be those that admitted the call when the first piece is made.
  static func start(
    _ loop: RequestLoop,
    _ call: CallID,
    _ framing: Framing = .messages,
    since stamp: PublishedAuth.Stamp? = nil,
    _ makeNext: @escaping MakeNext
  ) {
    let stream = PumpedStream(
      loop: loop,
      call: call,
      framing: framing,
      stamp: stamp,
      makeNext: makeNext
    )
    stream.makePiece()
  }

  private func makePiece() {
    let stamp = stamp
    self.stamp = nil
    let submitted = loop.shared.readers.submit { [self] reader, _ in
      if isDropped.isSet { return }
      var piece = ByteWriter(capacity: Self.pieceCapacity)
      var length: Int?
      var step = makeNext(reader, &piece) { length = $0 }
      if let stamp, stamp != loop.shared.auth.stamp { step = .failed(RPCStatus(.oldAuthRevision)) }
      let hold = loop.shared.responses.hold(piece.count)
      let bytes = SharedBytes(piece.takeBlock(nextCapacity: 0, owner: hold))
      let announced = length
      let outcome = step
      loop.withCall(call) { self.send(bytes, announced, outcome, $0) }
    }
    if !submitted {
      loop.withCall(call) { self.finish($0, RPCStatus(.serverStopped)) }
    }
  }

  private func send(_ piece: SharedBytes, _ length: Int?, _ step: Step, _ call: ServerCall) {
    if case .failed(let status) = step { return finish(call, status) }
    if let length { call.beginMessage(length: length) }
    switch framing {
    case .messages: call.send(message: piece)
    case .parts: call.sendPart(piece)
    }
    if case .last = step { return finish(call, .ok) }
    guard !call.isWritable else { return makePiece() }
    // Only the call's own callback keeps the stream: with the call goes the revision that it holds.
    stall = loop.eventLoop.scheduleTask(in: Self.stallMax) { [weak self] in
      guard let self, let call = self.loop.calls.call(self.call) else { return }
      self.isDropped.set()
      self.finish(call, RPCStatus(.deadlineExceeded, "martlet: the client has stopped reading"))
    }
    call.whenWritable { _ in
      self.stall?.cancel()
      self.makePiece()
    }
  }

  private func finish(_ call: ServerCall, _ status: RPCStatus) {
    loop.forgetDropFlag(of: self.call)
    call.finish(status)
  }
}
