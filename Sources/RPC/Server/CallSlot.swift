import Base
import HTTP2
import NIOCore

/// The name of a running call on its event loop. May cross threads as a number; one that is
/// stale, because its call has ended, is recognised and has no effect.
///
/// The low 20 bits are the call's slot, the next 24 its generation; the rest is 0.
package struct CallID: Hashable, Sendable {
  package let rawValue: UInt64

  static let slotBits: UInt64 = 20
  static let slotsMax = 1 << 20
  static let generationMask: UInt32 = 0xFF_FFFF

  @inlinable
  package init(rawValue: UInt64) {
    self.rawValue = rawValue
  }

  init(slot: Int, generation: UInt32) {
    rawValue = UInt64(generation) << Self.slotBits | UInt64(slot)
  }

  var slot: Int { Int(truncatingIfNeeded: rawValue) & (Self.slotsMax - 1) }
  var generation: UInt32 { UInt32(truncatingIfNeeded: rawValue >> Self.slotBits) }
}

/// The state of one running call, used again for a later call when it ends.
///
/// Accesses are not checked for overlap at run time: the fields are touched by one event loop, and
/// each access is over before other code runs.
final class CallSlot {
  enum Phase: UInt8 {
    /// Not in use.
    case free
    /// Header fields are coming in.
    case headers
    /// A gRPC call that is not answered yet.
    case call
    /// A gRPC call that the dispatcher is being told is over.
    case ending
    /// A plain HTTP request whose body is coming in.
    case httpBody
    /// A plain HTTP request that a task is answering.
    case httpAnswer
  }

  enum ContentType: UInt8 {
    case none
    case grpc
    case other
  }

  enum Encoding: UInt8 {
    case identity
    case gzip
    case unknown
  }

  let index: Int
  @exclusivity(unchecked) var generation: UInt32 = 1
  @exclusivity(unchecked) var phase = Phase.free
  @exclusivity(unchecked) var contentType = ContentType.none
  @exclusivity(unchecked) var encoding = Encoding.identity
  @exclusivity(unchecked) var isPost = false
  @exclusivity(unchecked) var isTimeoutMalformed = false
  /// The dispatcher knows of the call: `start` or `receive` has been called.
  @exclusivity(unchecked) var isDispatched = false
  /// A request message has been handed to the dispatcher.
  @exclusivity(unchecked) var hasMessage = false
  /// The client has sent its last byte.
  @exclusivity(unchecked) var isHalfClosed = false
  /// Response headers have been sent.
  @exclusivity(unchecked) var sentHeaders = false
  @exclusivity(unchecked) var method = -1
  /// Nanoseconds of the loop's clock; `.max` when there is none.
  @exclusivity(unchecked) var deadline = UInt64.max
  /// When the headers began to come in, in nanoseconds of the loop's clock.
  @exclusivity(unchecked) var startTime: UInt64 = 0
  /// The length of the last request message.
  @exclusivity(unchecked) var requestBytes = 0
  /// The length of the messages sent, with their prefixes.
  @exclusivity(unchecked) var responseBytes = 0
  /// The client's version, as the loop's table numbers it.
  @exclusivity(unchecked) var clientVersion = ClientVersions.unknown
  /// What the tracer made of the call.
  @exclusivity(unchecked) var span: AnyObject?
  /// Request bytes taken in whose flow-control credit is kept back while the client does not read.
  @exclusivity(unchecked) var heldCreditBytes = 0
  @exclusivity(unchecked) var connection: ServerConnection?
  @exclusivity(unchecked) var stream: HTTP2Stream?
  @exclusivity(unchecked) var reader = MessageReader()
  @exclusivity(unchecked) var metadata = Metadata()
  @exclusivity(unchecked) var writableCallback: ((ServerCall) -> Void)?
  @exclusivity(unchecked) var http: HTTP2RequestState?

  init(index: Int) {
    self.index = index
  }

  var id: CallID { CallID(slot: index, generation: generation) }

  /// Makes the slot ready for a new call.
  func open(_ connection: ServerConnection, _ stream: HTTP2Stream, now: UInt64) {
    phase = .headers
    contentType = .none
    encoding = .identity
    isPost = false
    isTimeoutMalformed = false
    isDispatched = false
    hasMessage = false
    isHalfClosed = false
    sentHeaders = false
    method = -1
    deadline = .max
    startTime = now
    requestBytes = 0
    responseBytes = 0
    clientVersion = ClientVersions.unknown
    heldCreditBytes = 0
    self.connection = connection
    self.stream = stream
  }

  /// Forgets the call; its id is stale from now on.
  func close() {
    phase = .free
    generation = (generation &+ 1) & CallID.generationMask
    connection = nil
    stream = nil
    metadata.removeAll()
    if writableCallback != nil { writableCallback = nil }
    if http != nil { http = nil }
  }
}
