import CProto

/// A .proto file as server reflection hands it out.
package struct FileDescriptor: Sendable {
  /// Immutable C data that lives as long as the process.
  nonisolated(unsafe) private let file: UnsafePointer<martlet_file>

  init(_ file: UnsafePointer<martlet_file>) {
    self.file = file
  }

  /// The name that imports use: `rpc.proto`.
  package var name: String { String(cString: file.pointee.name) }

  /// The serialized `google.protobuf.FileDescriptorProto`; valid for ever.
  package var bytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: file.pointee.bytes, count: file.pointee.count)
  }

  /// The files that this one imports.
  package var dependencies: [FileDescriptor] {
    (0..<Int(file.pointee.dependency_count)).map {
      FileDescriptor(martlet_file_at(UInt32(file.pointee.dependencies[$0])))
    }
  }

  /// Every file of the project.
  package static var all: [FileDescriptor] {
    (0..<martlet_file_count).map { FileDescriptor(martlet_file_at($0)) }
  }

  /// The file of that name.
  package static func named(_ name: String) -> FileDescriptor? {
    all.first { $0.name == name }
  }

  /// The file that defines the message, enum, enum value, field, service or method of that full
  /// name.
  package static func containing(symbol: String) -> FileDescriptor? {
    symbol.withCString { martlet_file_of_symbol($0) }.map { FileDescriptor($0) }
  }
}
