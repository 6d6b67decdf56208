import Base
import Foundation
import MVCC
import Migration
import Proto
import Storage
import Testing

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

/// A snapshot that Debian's etcd wrote: keys with history and deletions, compacted at 4, one lease,
/// users root and u1, role r1, and a member called m1. `BoltFileTests` has the files.
struct EtcdFile: Sendable, CustomTestStringConvertible {
  /// Of 3.4.23.
  static let release34 = EtcdFile(
    release: "3.4",
    hash: 3_869_269_923,
    statusHash: 0x5451_e14f,
    recordCount: 413,
    databaseBytes: 90_112,
    isAuthEnabled: false,
    alarmCount: 0
  )
  /// Of 3.5.16, with authentication on and the alarm NOSPACE.
  static let release35 = EtcdFile(
    release: "3.5",
    hash: 1_691_633_778,
    statusHash: 2_159_020_142,
    recordCount: 131,
    databaseBytes: 106_496,
    isAuthEnabled: true,
    alarmCount: 1
  )
  static let all = [release34, release35]

  static let revision: Int64 = 11
  static let compacted: Int64 = 4

  let release: String
  /// What that etcd's HashKV said.
  let hash: UInt32
  /// What `snapshot status` of etcd's tools says.
  let statusHash: UInt32
  let recordCount: Int
  let databaseBytes: Int
  let isAuthEnabled: Bool
  let alarmCount: Int

  var testDescription: String { release }

  var path: String {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("../BoltFileTests/testdata/etcd-\(release).snapshot").standardized
      .path
  }

  func bytes() throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(fileURLWithPath: path))) }

  func source() throws -> SnapshotSource { try SnapshotSource(path: path) }
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
