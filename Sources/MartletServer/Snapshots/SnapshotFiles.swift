import Glibc

/// Files of snapshots in the store's directory.
package enum SnapshotFiles {
  /// How what comes from a leader is named until it is installed.
  static let incomingPrefix = "incoming-"

  /// Removes a store's file and what opening it left beside it.
  static func remove(_ path: String) {
    for name in [path, path + ".owner", path + "-lock"] { unlink(name) }
  }

  /// Removes what an earlier life of the member left.
  package static func removeLeftovers(in directory: String) {
    guard let listing = opendir(directory) else { return }
    defer { closedir(listing) }
    while let entry = readdir(listing) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      let isOurs =
        name.hasPrefix(incomingPrefix)
        || (name.hasPrefix("snapshot-") && name.hasSuffix(".tmp"))
      if isOurs { unlink("\(directory)/\(name)") }
    }
  }
}
