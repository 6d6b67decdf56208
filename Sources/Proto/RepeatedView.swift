package import CProto

/// The messages of a repeated field, where they lie in their arena.
package struct RepeatedView<Element: MessageView>: RandomAccessCollection {
  @usableFromInline let base: UnsafeRawPointer?
  package let count: Int

  @inlinable
  package init(base: UnsafeRawPointer?, count: Int) {
    self.base = base
    self.count = count
  }

  @inlinable package var startIndex: Int { 0 }
  @inlinable package var endIndex: Int { count }

  @inlinable
  package subscript(position: Int) -> Element {
    precondition(position >= 0 && position < count)
    let pointers = base.unsafelyUnwrapped.assumingMemoryBound(
      to: UnsafePointer<Element.CMessage>.self)
    return Element(raw: pointers[position])
  }
}

/// The elements of a repeated bytes or string field, where they lie in their arena.
package struct RepeatedBytesView: RandomAccessCollection {
  @usableFromInline let base: UnsafePointer<ProtobufCBinaryData>?
  package let count: Int

  @inlinable
  package init(base: UnsafePointer<ProtobufCBinaryData>?, count: Int) {
    self.base = base
    self.count = count
  }

  @inlinable package var startIndex: Int { 0 }
  @inlinable package var endIndex: Int { count }

  @inlinable
  package subscript(position: Int) -> UnsafeRawBufferPointer {
    precondition(position >= 0 && position < count)
    let element = base.unsafelyUnwrapped + position
    return UnsafeRawBufferPointer(start: element.pointee.data, count: element.pointee.len)
  }
}

extension UnsafeBufferPointer {
  /// The numbers of a repeated field.
  @inlinable
  package init(reading base: UnsafeRawPointer?, count: Int) {
    self.init(start: base?.assumingMemoryBound(to: Element.self), count: count)
  }
}
