import CSupport

/// CRC32C, for those above who have no business with C.
package enum Checksum {
  /// Continues `checksum` with `bytes`.
  package static func add(_ bytes: UnsafeRawBufferPointer, to checksum: UInt32) -> UInt32 {
    martlet_crc32c(checksum, bytes.baseAddress, bytes.count)
  }
}
