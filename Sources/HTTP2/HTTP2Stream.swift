public import Base

/// One stream of a connection, confined to the connection's event loop.
///
/// Objects are pooled: after `streamClosed` the same object serves another stream, so keep the `id`
/// (never reused on a connection) where an answer may come later than the stream's end.
package final class HTTP2Stream {
  // Outside the object, so that nghttp2 can carry its address and no access is checked or counted.
  @usableFromInline let state: UnsafeMutablePointer<StreamState>

  init() {
    state = .allocate(capacity: 1)
    state.initialize(to: StreamState(object: .passUnretained(self)))
  }

  deinit {
    state.deinitialize(count: 1)
    state.deallocate()
  }

  /// The stream's number on its connection.
  @inlinable
  package var id: Int32 { state.pointee.id }

  /// Free for the delegate. 0 when a stream opens.
  @inlinable
  package var tag: Int {
    get { state.pointee.tag }
    set { state.pointee.tag = newValue }
  }

  /// Outgoing bytes of body that have not been framed yet.
  @inlinable
  package var bufferedBytes: Int { state.pointee.bufferedBytes }

  /// Bytes of body handed to the delegate and not consumed yet.
  package var unconsumedBytes: Int { state.pointee.unconsumedBytes }

  /// Whether the outgoing buffer is below its high mark. After false, `streamWritable` tells.
  @inlinable
  package var isWritable: Bool { !state.pointee.flags.contains(.aboveHigh) }

  /// Whether the peer has finished its half.
  @inlinable
  package var isRemoteEnded: Bool { state.pointee.flags.contains(.remoteEnded) }
}

/// What a session knows of a stream.
@usableFromInline
struct StreamState: ~Copyable {
  @usableFromInline var id: Int32 = 0
  @usableFromInline var flags: StreamFlags = []
  @usableFromInline var tag = 0
  /// Outgoing bytes, after those of `blocks`. The first `sentOffset` have been framed.
  @usableFromInline var outgoing: ByteWriter = ByteWriter(
    capacity: StreamState.outgoingBytesInitial
  )
  /// Outgoing bytes not framed yet, here and in `blocks`.
  @usableFromInline var bufferedBytes = 0
  var sentOffset = 0
  /// Outgoing bytes taken by reference; those before `blockIndex` are gone.
  var blocks: [SharedBytes] = []
  var blockIndex = 0
  /// Framed bytes of `blocks[blockIndex]`.
  var blockOffset = 0

  /// Bytes handed to the delegate and not consumed.
  var unconsumedBytes = 0
  /// Bytes consumed and not reported to nghttp2.
  var unreportedBytes = 0
  /// Size of the header block being received.
  var headerListBytes = 0
  /// The content-length of the request being received; negative without one.
  var bodyBytesDeclared = -1
  var bodyBytesReceived = 0

  /// What keeps the memory of the headers alive that nghttp2 points to.
  var headersOwner: HeaderBlockOwner?
  var trailers: HeaderBlock?

  /// This stream's place in the session's list.
  var place = 0
  /// The stream's face; it owns this memory.
  let object: Unmanaged<HTTP2Stream>
  /// The next free stream while this one is pooled.
  var nextFree: UnsafeMutablePointer<StreamState>?

  /// The buffer that a stream starts with.
  static let outgoingBytesInitial = 512
  /// The largest buffer that goes back to the pool.
  static let outgoingBytesPooledMax = 4 << 10

  init(object: Unmanaged<HTTP2Stream>) {
    self.object = object
  }
}

/// The yes-or-no part of a stream's state.
@usableFromInline
struct StreamFlags: OptionSet, Sendable {
  @usableFromInline let rawValue: UInt32

  @usableFromInline
  init(rawValue: UInt32) {
    self.rawValue = rawValue
  }

  /// Between opening and `streamClosed`.
  @usableFromInline static let live = StreamFlags(rawValue: 1 << 0)
  /// The delegate knows of the stream.
  static let announced = StreamFlags(rawValue: 1 << 1)
  /// Our headers are with nghttp2.
  static let headersSent = StreamFlags(rawValue: 1 << 2)
  /// No more of our body follows what is buffered.
  static let localEnded = StreamFlags(rawValue: 1 << 3)
  /// nghttp2 has found nothing to send and waits to be told.
  static let deferred = StreamFlags(rawValue: 1 << 4)
  /// The peer has finished its half.
  @usableFromInline static let remoteEnded = StreamFlags(rawValue: 1 << 5)
  /// The outgoing buffer has reached its high mark and not yet fallen below the low one.
  @usableFromInline static let aboveHigh = StreamFlags(rawValue: 1 << 6)
  /// We have asked nghttp2 to reset the stream.
  static let reset = StreamFlags(rawValue: 1 << 7)
  /// The header block being received is a 1xx response.
  static let informational = StreamFlags(rawValue: 1 << 8)
  /// The final response's headers have come.
  static let responded = StreamFlags(rawValue: 1 << 9)
  /// The delegate is to be told that it may write.
  static let writableDue = StreamFlags(rawValue: 1 << 10)
  /// What of a request's head has come; `regularSeen` is any field that is no pseudo header.
  static let methodSeen = StreamFlags(rawValue: 1 << 11)
  static let schemeSeen = StreamFlags(rawValue: 1 << 12)
  static let pathSeen = StreamFlags(rawValue: 1 << 13)
  static let authoritySeen = StreamFlags(rawValue: 1 << 14)
  static let regularSeen = StreamFlags(rawValue: 1 << 15)
}

extension StreamState {
  /// From this size on bytes are taken by reference, and a writer's content is sealed, so that
  /// its memory goes as soon as it is framed.
  static let blockBytesMin = 8 << 10
  static let sealBytesMin = 64 << 10

  mutating func append(_ bytes: SharedBytes) {
    bufferedBytes += bytes.count
    guard bytes.count >= Self.blockBytesMin else {
      bytes.withUnsafeBytes { outgoing.append($0) }
      return
    }
    seal()
    blocks.append(bytes)
  }

  /// Makes what has been written a block, when there is enough of it. Called between writes.
  mutating func sealIfLarge() {
    if outgoing.count >= Self.sealBytesMin { seal() }
  }

  private mutating func seal() {
    let end = outgoing.count
    guard end > sentOffset else {
      outgoing.removeAll()
      sentOffset = 0
      return
    }
    blocks.append(
      SharedBytes(outgoing.takeBlock(nextCapacity: Self.outgoingBytesInitial), sentOffset..<end)
    )
    sentOffset = 0
  }

  /// Moves the next `count` outgoing bytes to `target`.
  mutating func take(_ count: Int, to target: UnsafeMutableRawPointer) {
    precondition(count <= bufferedBytes)
    bufferedBytes -= count
    var target = target
    var rest = count
    while rest > 0, blockIndex < blocks.count {
      let (copied, isDone) = blocks[blockIndex].withUnsafeBytes { bytes in
        let copied = min(rest, bytes.count - blockOffset)
        if let start = bytes.baseAddress {
          target.copyMemory(from: start + blockOffset, byteCount: copied)
        }
        return (copied, blockOffset + copied == bytes.count)
      }
      target += copied
      rest -= copied
      blockOffset += copied
      if isDone { dropBlock() }
    }
    guard rest > 0, let start = outgoing.bytes.baseAddress else { return }
    target.copyMemory(from: start + sentOffset, byteCount: rest)
    sentOffset += rest
    if sentOffset == outgoing.count { emptyWriter() }
  }

  private mutating func dropBlock() {
    blocks[blockIndex] = SharedBytes()
    blockIndex += 1
    blockOffset = 0
    if blockIndex == blocks.count {
      blocks.removeAll(keepingCapacity: blocks.capacity <= 16)
      blockIndex = 0
    }
  }

  private mutating func emptyWriter() {
    if outgoing.count > Self.outgoingBytesPooledMax {
      _ = outgoing.takeBlock(nextCapacity: Self.outgoingBytesInitial)
    } else {
      outgoing.removeAll()
    }
    sentOffset = 0
  }

  /// Back to how a stream starts, keeping a small buffer.
  mutating func clear() {
    id = 0
    flags = []
    tag = 0
    if outgoing.count > 0 { emptyWriter() }
    bufferedBytes = 0
    if !blocks.isEmpty { blocks = [] }
    blockIndex = 0
    blockOffset = 0
    unconsumedBytes = 0
    unreportedBytes = 0
    headerListBytes = 0
    bodyBytesDeclared = -1
    bodyBytesReceived = 0
    headersOwner = nil
    trailers = nil
  }
}
