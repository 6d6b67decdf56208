import Glibc
package import Replica
package import Storage

/// The store on its way to another member, straight from its file: what was committed when this was
/// made, part by part.
package final class OutgoingSnapshot: @unchecked Sendable {
  // Used by one task at a time.
  private let export: LMDBExport
  /// The parts together are not longer.
  package let bytesMax: Int
  /// How far the log is applied in it.
  package let mark: LogMark
  /// What `next` returned so far.
  package private(set) var sentBytes = 0
  private var digest = SnapshotDigest()

  /// What is read at a time at most.
  private static let partBytesMax = 1 << 20
  /// The least that `next` may be asked for.
  private static let partBytesMin = 4 << 10

  package enum Failure: Error, CustomStringConvertible {
    case storage(StorageError)
    case noMark

    package var description: String {
      switch self {
      case .storage(let error): "\(error)"
      case .noMark: "the store does not say how far it goes"
      }
    }
  }

  /// What `storage` has on the disk now.
  package init(of storage: LMDBStorage) throws(Failure) {
    let export: LMDBExport
    let bytes: [UInt8]?
    do throws(StorageError) {
      export = try LMDBExport(of: storage)
      bytes = try export.metadata(StoredMetadata.appliedKey)
    } catch {
      throw .storage(error)
    }
    guard let bytes, let mark = try? LogMark(decoding: bytes) else {
      export.end()
      throw .noMark
    }
    self.export = export
    self.mark = mark
    // A part ends early where a record's head has no room.
    let recordBytesMin = Self.partBytesMin - SnapshotPart.headBytes - LMDBExport.bufferBytesMin
    let partsMax = export.bytesMax / recordBytesMin + 1
    bytesMax = export.bytesMax + partsMax * SnapshotPart.headBytes
  }

  deinit {
    export.end()
  }

  /// The next part, at most so many bytes, which must be 4 KiB or more; nil at the end.
  package func next(bytesMax: Int) throws -> [UInt8]? {
    precondition(bytesMax >= Self.partBytesMin, "parts of \(bytesMax) bytes")
    let wanted = min(bytesMax, Self.partBytesMax)
    let part = try [UInt8](unsafeUninitializedCapacity: wanted) { buffer, count in
      let whole = UnsafeMutableRawBufferPointer(buffer)
      let room = UnsafeMutableRawBufferPointer(rebasing: whole[SnapshotPart.headBytes..<wanted])
      let length = try export.next(into: room)
      guard length > 0 else { return }
      count = SnapshotPart.headBytes + length
      SnapshotPart.seal(UnsafeMutableRawBufferPointer(rebasing: whole.prefix(count)))
    }
    guard !part.isEmpty else { return nil }
    part.withUnsafeBytes { digest.add($0) }
    sentBytes += part.count
    return part
  }

  /// The `SnapshotDigest` of all that `next` returned.
  package var sha256: [UInt8] { digest.value }
}
