import Base
import Glibc
import Log
import Logging
import MVCC
import Membership
import NIOPosix
import RPC
import Raft
import Replica
import Storage

/// The threads and files of one running member, put together.
///
/// Order matters: files are opened from the bottom up, threads are started after them, and both
/// are stopped the other way round.
final class MemberRuntime: Sendable {
  let context: MemberContext
  private let replica: ReplicaThread
  private let directory: DataDirectory
  private let disk: DiskMetrics
  private let loops: LoopTable
  private let fatal: FailureLatch

  /// How many threads read for the event loops.
  private static let readerThreads = 2

  init(_ configuration: ServerConfiguration, loopCount: Int, logger: Logger) throws(StartError) {
    let opened = try OpenedMember(configuration, loopCount: loopCount, logger: logger)
    let store = opened.store
    directory = opened.directory
    let status = PublishedStatus(members: opened.machine.members)
    let disk = DiskMetrics()
    self.disk = disk
    let loops = LoopTable()
    self.loops = loops
    let fatal = FailureLatch()
    self.fatal = fatal
    let gate = AdmissionGate()
    let outlets = ReplicaThread.Outlets(
      answers: { loop, block in loops.deliver(block, to: loop) },
      reads: { ready, lost in loops.deliver(ready: ready, lost: lost) },
      fatal: { fatal.fail($0) })
    let log = opened.log
    replica = ReplicaThread(
      machine: opened.machine, tickNanoseconds: UInt64(configuration.heartbeatInterval) * 1_000_000,
      status: status, gate: gate, logger: logger, outlets: outlets,
      makeLogWriter: { LogWriter(log: log, metrics: disk, report: $0) },
      makeHousekeeper: { Housekeeper(store: store, metrics: disk, report: $0) })
    context = MemberContext(
      identity: opened.identity, store: store, status: status, gate: gate,
      readers: ReaderPool(store: store, threadCount: Self.readerThreads), replica: replica,
      settings: MemberContext.Settings(configuration, directory: opened.directory),
      logger: logger)
  }
}
