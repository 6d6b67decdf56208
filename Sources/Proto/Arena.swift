public import CProto

/// Memory that decoding takes piece by piece and that is given back all at once.
///
/// Views decoded in an arena are valid until its next `reset()`, or until it goes away. Not
/// thread-safe: one owner at a time. In steady use it allocates nothing, because a reset keeps one
/// chunk as large as the work before needed, up to `retainedBytesMax`.
public final class Arena {
  /// Bound of what one arena holds, in bytes, unless its owner says otherwise. A message of a
  /// request's size stays far below, except for one built to expand.
  public static let defaultBytesMax = 64 << 20

  /// What a reset keeps at most, in bytes.
  public static let retainedBytesMax = 1 << 20

  /// The arena as C sees it; for the generated code.
  public let raw: ArenaPointer

  /// An empty arena, which allocates when it is first used.
  public init(bytesMax: Int = Arena.defaultBytesMax) {
    precondition(bytesMax >= 0)
    raw = ArenaPointer.allocate(capacity: 1)
    martlet_arena_init(raw, bytesMax, Arena.retainedBytesMax)
  }

  deinit {
    martlet_arena_destroy(raw)
    raw.deallocate()
  }

  /// Takes all memory back. Every view and pointer into the arena becomes invalid.
  @inlinable
  public func reset() {
    martlet_arena_reset(raw)
  }

  /// Memory for the caller's own use until the next reset, aligned to 8 bytes and not cleared; nil
  /// when the arena would grow beyond its bound.
  @inlinable
  public func allocate(byteCount: Int) -> UnsafeMutableRawPointer? {
    martlet_arena_alloc(raw, byteCount)
  }

  /// Bytes that the arena holds at present, in use or not.
  public var heldBytes: Int { raw.pointee.held_bytes }
}

/// An arena without an owner that counts references.
public typealias ArenaPointer = UnsafeMutablePointer<martlet_arena>

// Building of C structs, always from values of our own: such an arena has no bound, and running
// out of memory ends the process as it does elsewhere.
extension UnsafeMutablePointer where Pointee == martlet_arena {
  /// An empty message.
  package func make<View: MessageView>(_: View.Type) -> UnsafeMutablePointer<View.CMessage> {
    guard let message = martlet_new(View.table, self) else { preconditionFailure("out of memory") }
    return UnsafeMutableRawPointer(message).assumingMemoryBound(to: View.CMessage.self)
  }

  private func array<Element>(_: Element.Type, count: Int) -> UnsafeMutablePointer<Element> {
    let byteCount = count * MemoryLayout<Element>.stride
    guard let memory = martlet_arena_alloc(self, byteCount) else {
      preconditionFailure("out of memory")
    }
    return memory.bindMemory(to: Element.self, capacity: count)
  }

  private func copy(raw bytes: UnsafeRawBufferPointer) -> ProtobufCBinaryData {
    guard let start = bytes.baseAddress, bytes.count > 0 else { return ProtobufCBinaryData() }
    let target = array(UInt8.self, count: bytes.count)
    UnsafeMutableRawPointer(target).copyMemory(from: start, byteCount: bytes.count)
    return ProtobufCBinaryData(len: bytes.count, data: target)
  }

  package func copy(_ bytes: [UInt8]) -> ProtobufCBinaryData {
    bytes.withUnsafeBytes { copy(raw: $0) }
  }

  package func copy(_ string: String) -> ProtobufCBinaryData {
    var string = string
    return string.withUTF8 { copy(raw: UnsafeRawBufferPointer($0)) }
  }

  package func copy(_ list: [[UInt8]]) -> UnsafeMutablePointer<ProtobufCBinaryData>? {
    if list.isEmpty { return nil }
    let target = array(ProtobufCBinaryData.self, count: list.count)
    for (index, element) in list.enumerated() { target[index] = copy(element) }
    return target
  }

  package func copy(_ list: [String]) -> UnsafeMutablePointer<ProtobufCBinaryData>? {
    if list.isEmpty { return nil }
    let target = array(ProtobufCBinaryData.self, count: list.count)
    for (index, element) in list.enumerated() { target[index] = copy(element) }
    return target
  }

  package func copy<Element: WireMessage>(
    _ list: [Element]
  ) -> UnsafeMutablePointer<UnsafeMutablePointer<Element.View.CMessage>?>? {
    if list.isEmpty { return nil }
    let target = array(UnsafeMutablePointer<Element.View.CMessage>?.self, count: list.count)
    for (index, element) in list.enumerated() { target[index] = element.build(in: self) }
    return target
  }

  /// Copies numbers, or enum values, whose layout in C is that in Swift.
  package func copy<Element: BitwiseCopyable, CElement>(
    _ list: [Element],
    as _: CElement.Type
  ) -> UnsafeMutablePointer<CElement>? {
    precondition(MemoryLayout<Element>.stride == MemoryLayout<CElement>.stride)
    if list.isEmpty { return nil }
    let target = array(CElement.self, count: list.count)
    list.withUnsafeBytes { bytes in
      UnsafeMutableRawBufferPointer(start: target, count: bytes.count).copyMemory(from: bytes)
    }
    return target
  }
}
