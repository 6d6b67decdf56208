import Glibc

/// A run of bytes in memory that many slices share and nobody changes any more.
///
/// The batch that an event loop hands over is one such block; each log entry of the batch is a
/// `SharedBytes` that points into it, so an entry costs no allocation of its own.
public final class ByteBlock: @unchecked Sendable {
  // Safe to share: the memory is written before the block is published and never after.
  @usableFromInline let base: UnsafeMutableRawPointer
  public let count: Int
  /// Kept as long as the block: whoever wants to know when the bytes are gone.
  @usableFromInline let owner: AnyObject?

  /// Takes ownership of memory that `malloc` returned, and of `owner`, which must be safe to let go
  /// of on any thread.
  @inlinable
  public init(adopting base: UnsafeMutableRawPointer, count: Int, owner: AnyObject? = nil) {
    self.base = base
    self.count = count
    self.owner = owner
  }

  deinit {
    free(base)
  }

  /// The block's bytes, valid while the block lives.
  @inlinable
  public var bytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: base, count: count)
  }
}

/// An immutable slice of a `ByteBlock`. Copying it copies a reference, not bytes.
@frozen
public struct SharedBytes: Sendable {
  @usableFromInline let block: ByteBlock?
  @usableFromInline let offset: Int
  public let count: Int

  /// No bytes.
  @inlinable
  public init() {
    block = nil
    offset = 0
    count = 0
  }

  /// All bytes of `block`.
  @inlinable
  public init(_ block: ByteBlock) {
    self.init(block, 0..<block.count)
  }

  /// The bytes of `block` in `range`. The range must lie within the block.
  @inlinable
  public init(_ block: ByteBlock, _ range: Range<Int>) {
    precondition(range.lowerBound >= 0 && range.upperBound <= block.count)
    self.block = block
    offset = range.lowerBound
    count = range.count
  }

  /// A copy of `bytes` in a block of its own.
  public init(copying bytes: UnsafeRawBufferPointer) {
    guard let start = bytes.baseAddress, bytes.count > 0 else {
      self.init()
      return
    }
    guard let base = malloc(bytes.count) else { preconditionFailure("out of memory") }
    base.copyMemory(from: start, byteCount: bytes.count)
    self.init(ByteBlock(adopting: base, count: bytes.count), 0..<bytes.count)
  }

  /// A copy of `bytes` in a block of its own.
  public init(_ bytes: [UInt8]) {
    self = bytes.withUnsafeBytes { SharedBytes(copying: $0) }
  }

  @inlinable
  public var isEmpty: Bool { count == 0 }

  /// Calls `body` with the bytes, which are valid only during the call.
  @inlinable
  public func withUnsafeBytes<Result, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    guard let block else { return try body(UnsafeRawBufferPointer(start: nil, count: 0)) }
    defer { withExtendedLifetime(block) {} }
    return try body(UnsafeRawBufferPointer(start: block.base + offset, count: count))
  }

  /// The bytes as an array of their own.
  public var array: [UInt8] { withUnsafeBytes { [UInt8]($0) } }
}

extension SharedBytes: Equatable {
  public static func == (left: SharedBytes, right: SharedBytes) -> Bool {
    left.count == right.count
      && left.withUnsafeBytes { l in right.withUnsafeBytes { r in l.elementsEqual(r) } }
  }
}
