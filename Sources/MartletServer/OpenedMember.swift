import Base
import Log
import Logging
import MVCC
import Membership
import Raft
import Replica
import Storage

/// A member's files, opened, and the replica that was made of them: everything before the first
/// thread starts.
struct OpenedMember {
  let directory: DataDirectory
  let store: Store
  let log: SegmentedLog<PosixFileSystem>
  let machine: ReplicaMachine
  let identity: MemberIdentity

  init(
    _ configuration: ResolvedConfiguration, loopCount: Int, logger: Logger
  ) throws(StartError) {
    let source = configuration.source
    let founding: MemberTable
    do {
      founding = try MemberTable(
        founding: configuration.initialCluster, token: source.initialClusterToken)
    } catch {
      throw .membership(error)
    }
    guard let own = founding.member(named: source.name) else {
      throw .configuration("--initial-cluster does not name \(source.name)")
    }
    let identity = MemberIdentity(
      clusterID: founding.clusterID, memberID: own.id, epoch: UInt64.random(in: 1 ... .max))
    self.identity = identity
    directory = try Self.openDirectory(configuration, identity)
    store = try Self.openStore(directory, quotaBytes: configuration.quotaBytes)
    let recovered: RecoveredLog
    (log, recovered) = try Self.openLog(
      directory, identity, isSynced: !source.unsafeNoFsync)
    machine = try Self.makeMachine(
      configuration, identity, founding: founding, store: store, log: recovered,
      loopCount: loopCount)
    logger.info(
      "opened the data directory",
      metadata: [
        "path": "\(configuration.dataDirectoryPath)",
        "revision": "\(store.currentRevision)",
        "applied": "\(machine.status.applied)",
        "entries": "\(recovered.entries.count)",
      ])
  }
}

/// Why a member did not start. The description is for the operator.
public enum StartError: Error, CustomStringConvertible, Sendable {
  case configuration(String)
  case directory(String)
  case membership(String)
  case store(String)
  case log(String)
  case recovery(String)
  case listen(String)
  case notReady(String)

  public var description: String {
    switch self {
    case .configuration(let text), .directory(let text), .membership(let text),
      .store(let text), .log(let text), .recovery(let text), .listen(let text),
      .notReady(let text):
      text
    }
  }
}
