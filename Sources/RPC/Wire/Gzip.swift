package import Base
import CZlib

/// Gzip for messages, with one zlib state that is used again and again. Confined to one thread.
package final class Gzip {
  package enum Failure: Error, Equatable {
    /// The bytes are not one whole gzip stream.
    case malformed
    /// The content is longer than the caller takes.
    case tooLarge
  }

  private var inflater = z_stream()
  private var deflater = z_stream()
  private var isInflaterReady = false
  private var isDeflaterReady = false

  /// Bits of window (15) plus zlib's sign for a gzip wrapper (16).
  private static let windowBits: Int32 = 15 + 16
  private static let outputStepBytes = 16 << 10

  package init() {}

  deinit {
    if isInflaterReady { inflateEnd(&inflater) }
    if isDeflaterReady { deflateEnd(&deflater) }
  }

  /// Appends the content of the gzip stream `bytes` to `writer`, at most `contentBytesMax` bytes
  /// of it: memory stays bounded whatever the stream says.
  package func decompress(
    _ bytes: UnsafeRawBufferPointer,
    into writer: inout ByteWriter,
    contentBytesMax: Int
  ) throws(Failure) {
    if isInflaterReady {
      inflateReset(&inflater)
    } else {
      let result = inflateInit2_(
        &inflater,
        Self.windowBits,
        ZLIB_VERSION,
        Int32(MemoryLayout<z_stream>.size)
      )
      precondition(result == Z_OK, "inflateInit2 failed: \(result)")
      isInflaterReady = true
    }
    let start = writer.count
    setInput(&inflater, bytes)
    while true {
      // One byte more than allowed, so that content of exactly the limit is told from more.
      let room = min(Self.outputStepBytes, contentBytesMax + 1 - (writer.count - start))
      guard room > 0 else { throw .tooLarge }
      inflater.next_out = writer.reserve(room).assumingMemoryBound(to: UInt8.self)
      inflater.avail_out = UInt32(room)
      let result = inflate(&inflater, Z_NO_FLUSH)
      writer.advance(by: room - Int(inflater.avail_out))
      if writer.count - start > contentBytesMax { throw .tooLarge }
      if result == Z_STREAM_END {
        guard inflater.avail_in == 0 else { throw .malformed }
        return
      }
      guard result == Z_OK, inflater.avail_in > 0 || inflater.avail_out == 0 else {
        throw .malformed
      }
    }
  }

  /// Appends `bytes` as a gzip stream to `writer`.
  package func compress(_ bytes: UnsafeRawBufferPointer, into writer: inout ByteWriter) {
    if isDeflaterReady {
      deflateReset(&deflater)
    } else {
      let result = deflateInit2_(
        &deflater,
        Z_DEFAULT_COMPRESSION,
        Z_DEFLATED,
        Self.windowBits,
        8,
        Z_DEFAULT_STRATEGY,
        ZLIB_VERSION,
        Int32(MemoryLayout<z_stream>.size)
      )
      precondition(result == Z_OK, "deflateInit2 failed: \(result)")
      isDeflaterReady = true
    }
    let room = Int(deflateBound(&deflater, UInt(bytes.count)))
    setInput(&deflater, bytes)
    deflater.next_out = writer.reserve(room).assumingMemoryBound(to: UInt8.self)
    deflater.avail_out = UInt32(room)
    let result = deflate(&deflater, Z_FINISH)
    precondition(result == Z_STREAM_END, "deflate within its bound failed: \(result)")
    writer.advance(by: room - Int(deflater.avail_out))
  }

  private func setInput(_ stream: inout z_stream, _ bytes: UnsafeRawBufferPointer) {
    // zlib does not write to its input; its pointer only lacks the const.
    stream.next_in = UnsafeMutablePointer(
      mutating: bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
    )
    stream.avail_in = UInt32(bytes.count)
  }
}
