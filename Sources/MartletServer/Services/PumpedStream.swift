import Base
import MVCC
import Proto
import RPC
import Replica

/// A stream of responses that the reader pool makes piece by piece, each when the client has taken
/// enough of those before: a slow client costs one piece of memory and no thread.
final class PumpedStream: @unchecked Sendable {
  // `makeNext` runs on one pool thread at a time; everything else happens on the event loop.
  enum Step {
    case more
    case last
    case failed(RPCStatus)
  }

  /// Writes the next response message.
  typealias MakeNext = @Sendable (StoreReader, inout ByteWriter) -> Step

  private let loop: RequestLoop
  private let call: CallID
  private let makeNext: MakeNext

  private init(loop: RequestLoop, call: CallID, makeNext: @escaping MakeNext) {
    self.loop = loop
    self.call = call
    self.makeNext = makeNext
  }

  /// Starts a stream that ends with the call.
  static func start(_ loop: RequestLoop, _ call: CallID, _ makeNext: @escaping MakeNext) {
    PumpedStream(loop: loop, call: call, makeNext: makeNext).readNext()
  }

  private func readNext() {
    let submitted = loop.shared.readers.submit { [self] reader, _ in
      var message = ByteWriter(capacity: 4096)
      let step = makeNext(reader, &message)
      let bytes = SharedBytes(message.takeBlock())
      loop.withCall(call) { self.send(bytes, step, $0) }
    }
    if !submitted { loop.finish(call, RPCStatus(.serverStopped)) }
  }

  private func send(_ message: SharedBytes, _ step: Step, _ call: ServerCall) {
    if case .failed(let status) = step { return call.finish(status) }
    call.send(message: message)
    if case .last = step { return call.finish(.ok) }
    if call.isWritable {
      readNext()
    } else {
      call.whenWritable { _ in self.readNext() }
    }
  }
}
