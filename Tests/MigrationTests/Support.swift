import Base
import Foundation
import MVCC
import Migration
import Proto
import Storage

/// A directory that goes with the object.
final class TemporaryDirectory {
  let path: String

  init() {
    path = NSTemporaryDirectory() + "/migration-\(UUID().uuidString)"
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

  /// What is in it, hidden files included.
  var names: [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted()
  }
}

/// The snapshot of Debian's etcd 3.4.23 that `BoltFileTests` has: keys with history and deletions,
/// compacted at 4, one lease, users root and u1, role r1.
enum EtcdFile {
  static let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .appendingPathComponent("../BoltFileTests/testdata/etcd-3.4.snapshot").standardized.path
  static let revision: Int64 = 11
  static let compacted: Int64 = 4
  /// What that etcd's HashKV said.
  static let hash: UInt32 = 3_869_269_923
  /// What `etcdctl snapshot status` says.
  static let statusHash: UInt32 = 0x5451_e14f

  static func bytes() throws -> [UInt8] {
    [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
  }

  static func source() throws -> SnapshotSource { try SnapshotSource(path: path) }
}

func plan(_ directory: String, _ change: (inout MemberPlan) -> Void = { _ in }) -> MemberPlan {
  var plan = MemberPlan(dataDirectory: directory)
  change(&plan)
  return plan
}

/// The keys and values of a store at a revision.
func pairs(of store: OfflineStore, at revision: Int64 = 0) throws -> [Mvccpb.KeyValue] {
  var pairs: [Mvccpb.KeyValue] = []
  try store.forEachKey(prefix: [], revision: revision, limit: 0, keysOnly: false) {
    pairs.append($0)
  }
  return pairs
}

func quiet(_ step: ProgressStep) {}
