import BoltFile
import Glibc

// libFuzzer target for the reading of bbolt files. See `run`.

/// A file in memory, which the reader opens by its path.
private nonisolated(unsafe) let descriptor: Int32 = {
  let name = "/dev/shm/martlet-fuzz-bolt-\(getpid())"
  let descriptor = open(name, O_RDWR | O_CREAT | O_TRUNC, 0o600)
  unlink(name)
  return descriptor
}()
private nonisolated(unsafe) let path = "/proc/self/fd/\(descriptor)"

/// Gives the meta pages a checksum that holds: the fuzzer would hardly ever find one.
private func repair(_ bytes: inout [UInt8]) {
  for meta in [16, 4096 + 16] where bytes.count >= meta + 64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in bytes[meta..<meta + 56] { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    for index in 0..<8 { bytes[meta + 56 + index] = UInt8(truncatingIfNeeded: hash >> (8 * index)) }
  }
}

private func readAll(_ bytes: [UInt8]) {
  ftruncate(descriptor, 0)
  guard pwrite(descriptor, bytes, bytes.count, 0) == bytes.count else { return }
  var sum = 0
  do {
    let file = try BoltFile(path: path)
    try file.forEachBucket { _, bucket in
      try file.forEach(in: bucket) { entry in
        for byte in entry.key { sum &+= Int(byte) }
        for byte in entry.value { sum &+= Int(byte) }
      }
    }
    try file.check()
  } catch is BoltError {
  } catch {
    fatalError("another error than the reader's: \(error)")
  }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzBolt(_ data: UnsafePointer<UInt8>, _ size: Int) -> CInt {
  var bytes = Array(UnsafeBufferPointer(start: data, count: size))
  readAll(bytes)
  repair(&bytes)
  readAll(bytes)
  return 0
}
