internal import CNghttp2

/// An immutable list of header fields in the form that nghttp2 takes, prepared once and sent any
/// number of times without a copy.
///
/// Pseudo headers come first. Names must be lower case.
package struct HeaderBlock: @unchecked Sendable {
  // Safe to share: the memory is written by the initialiser and never after.
  let fields: UnsafeMutablePointer<nghttp2_nv>
  let count: Int
  /// Frees the memory; nil when the block is permanent.
  let owner: HeaderBlockOwner?

  /// A block that is freed with its last reference.
  package init(_ fields: [(name: String, value: String)]) {
    self.init(fields.map { (Array($0.name.utf8), Array($0.value.utf8)) }, isPermanent: false)
  }

  /// A block that is freed with its last reference, with values that need not be UTF-8.
  package init(_ fields: [(name: String, value: [UInt8])]) {
    self.init(fields.map { (Array($0.name.utf8), $0.value) }, isPermanent: false)
  }

  /// A block that is never freed and never reference-counted: for `static let`s that all event
  /// loops share.
  package static func permanent(_ fields: [(name: String, value: String)]) -> HeaderBlock {
    HeaderBlock(
      fields.map { (Array($0.name.utf8), Array($0.value.utf8)) },
      isPermanent: true
    )
  }

  private init(_ list: [(name: [UInt8], value: [UInt8])], isPermanent: Bool) {
    let tableBytes = MemoryLayout<nghttp2_nv>.stride * list.count
    let textBytes = list.reduce(0) { $0 + $1.name.count + $1.value.count }
    let memory = UnsafeMutableRawPointer.allocate(
      byteCount: max(tableBytes + textBytes, 1),
      alignment: MemoryLayout<nghttp2_nv>.alignment
    )
    let table = memory.bindMemory(to: nghttp2_nv.self, capacity: list.count)
    let text = (memory + tableBytes).bindMemory(to: UInt8.self, capacity: textBytes)
    let flags = UInt8(
      NGHTTP2_NV_FLAG_NO_COPY_NAME.rawValue | NGHTTP2_NV_FLAG_NO_COPY_VALUE.rawValue
    )
    var offset = 0
    for (index, field) in list.enumerated() {
      let name = text + offset
      let value = name + field.name.count
      name.update(from: field.name, count: field.name.count)
      value.update(from: field.value, count: field.value.count)
      offset += field.name.count + field.value.count
      (table + index).initialize(
        to: nghttp2_nv(
          name: name,
          value: value,
          namelen: field.name.count,
          valuelen: field.value.count,
          flags: flags
        )
      )
    }
    fields = table
    count = list.count
    owner = isPermanent ? nil : HeaderBlockOwner(memory)
  }
}

/// Frees a header block's memory.
final class HeaderBlockOwner {
  private let memory: UnsafeMutableRawPointer

  init(_ memory: UnsafeMutableRawPointer) {
    self.memory = memory
  }

  deinit {
    memory.deallocate()
  }
}
