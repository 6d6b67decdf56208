import BoltFile
import Foundation

/// A directory that goes with the object.
final class TemporaryDirectory {
  let path: String

  init() {
    path = NSTemporaryDirectory() + "/bolt-\(UUID().uuidString)"
    try? FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit {
    try? FileManager.default.removeItem(atPath: path)
  }

  func file(_ name: String) -> String { "\(path)/\(name)" }

  func write(_ bytes: [UInt8], to name: String) throws -> String {
    try Data(bytes).write(to: URL(fileURLWithPath: file(name)))
    return file(name)
  }
}

/// What Debian's etcd 3.4.23 wrote: 413 records, with branches, an overflow page, freed pages, and the
/// SHA-256 of a snapshot behind it.
enum RealFile {
  static let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .appendingPathComponent("testdata/etcd-3.4.snapshot").path
  static let databaseBytes = 90112
  static let recordCount = 413

  static func bytes() throws -> [UInt8] {
    [UInt8](try Data(contentsOf: URL(fileURLWithPath: path))).prefix(databaseBytes).map { $0 }
  }
}

/// SplitMix64: the same numbers from the same seed, everywhere.
struct SeededNumbers: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) {
    state = seed
  }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}

struct Pair: Equatable {
  var key: [UInt8]
  var value: [UInt8]
}

/// Everything in a file, by bucket.
func contents(of file: BoltFile) throws -> [String: [Pair]] {
  var all: [String: [Pair]] = [:]
  try file.forEachBucket { name, bucket in
    var pairs: [Pair] = []
    try file.forEach(in: bucket) { pairs.append(Pair(key: Array($0.key), value: Array($0.value))) }
    all[String(decoding: name, as: UTF8.self)] = pairs
  }
  return all
}
