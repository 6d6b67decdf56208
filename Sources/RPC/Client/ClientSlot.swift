import Base
import HTTP2

/// The state of one running call of a client connection, used again for a later call.
final class ClientSlot {
  let index: Int
  @exclusivity(unchecked) var generation: UInt32 = 1
  @exclusivity(unchecked) var isOpen = false
  @exclusivity(unchecked) var token = 0
  @exclusivity(unchecked) var stream: HTTP2Stream?
  @exclusivity(unchecked) var reader = MessageReader()
  @exclusivity(unchecked) var metadata = Metadata()
  /// `grpc-status` as a number; nil until it comes.
  @exclusivity(unchecked) var status: Int?
  @exclusivity(unchecked) var message = ""
  @exclusivity(unchecked) var httpStatus = 0
  @exclusivity(unchecked) var isGRPC = false
  @exclusivity(unchecked) var isGzip = false
  @exclusivity(unchecked) var compressesRequests = false
  /// The caller takes no more for now: credit for what arrives is kept back.
  @exclusivity(unchecked) var isPaused = false
  @exclusivity(unchecked) var heldCreditBytes = 0

  init(index: Int) {
    self.index = index
  }

  var id: CallID { CallID(slot: index, generation: generation) }

  func open(_ stream: HTTP2Stream, token: Int) {
    isOpen = true
    self.token = token
    self.stream = stream
    status = nil
    httpStatus = 0
    isGRPC = false
    isGzip = false
    compressesRequests = false
    isPaused = false
    heldCreditBytes = 0
  }

  func close() {
    isOpen = false
    generation = (generation &+ 1) & CallID.generationMask
    stream = nil
    metadata.removeAll()
    if !message.isEmpty { message = "" }
  }
}

/// Receives what happens to the calls of a client connection, on the connection's event loop.
/// `token` is the number that the caller gave when it began the call.
package protocol ClientCallDelegate: AnyObject {
  /// A whole message, valid only during this call.
  func callReceived(_ token: Int, _ message: UnsafeRawBufferPointer)
  /// The call is over; the last thing heard of it.
  func callEnded(_ token: Int, _ end: CallEnd)
  /// After `isWritable` was false, more may be sent.
  func callWritable(_ token: Int)
  /// All that one read of the socket brought has been handed over.
  func turnEnded()
  /// The connection takes no new calls; those that run may still end well.
  func connectionDraining()
  /// All calls have ended.
  func connectionClosed()
}

extension ClientCallDelegate {
  package func callWritable(_ token: Int) {}
  package func turnEnded() {}
  package func connectionDraining() {}
  package func connectionClosed() {}
}
