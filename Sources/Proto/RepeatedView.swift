public import CProto

/// The messages of a repeated field, where they lie in their arena.
public struct RepeatedView<Element: MessageView>: RandomAccessCollection {
  @usableFromInline let base: UnsafeRawPointer?
  public let count: Int

  @inlinable
  public init(base: UnsafeRawPointer?, count: Int) {
    self.base = base
    self.count = count
  }

  @inlinable public var startIndex: Int { 0 }
  @inlinable public var endIndex: Int { count }

  @inlinable
  public subscript(position: Int) -> Element {
    precondition(position >= 0 && position < count)
    let pointers = base.unsafelyUnwrapped.assumingMemoryBound(
      to: UnsafePointer<Element.CMessage>.self
    )
    return Element(raw: pointers[position])
  }
}

/// The elements of a repeated bytes or string field, where they lie in their arena.
public struct RepeatedBytesView: RandomAccessCollection {
  @usableFromInline let base: UnsafePointer<ProtobufCBinaryData>?
  public let count: Int

  @inlinable
  public init(base: UnsafePointer<ProtobufCBinaryData>?, count: Int) {
    self.base = base
    self.count = count
  }

  @inlinable public var startIndex: Int { 0 }
  @inlinable public var endIndex: Int { count }

  @inlinable
  public subscript(position: Int) -> UnsafeRawBufferPointer {
    precondition(position >= 0 && position < count)
    let element = base.unsafelyUnwrapped + position
    return UnsafeRawBufferPointer(start: element.pointee.data, count: element.pointee.len)
  }
}

extension UnsafeBufferPointer {
  /// The numbers of a repeated field.
  @inlinable
  public init(reading base: UnsafeRawPointer?, count: Int) {
    self.init(start: base?.assumingMemoryBound(to: Element.self), count: count)
  }
}
