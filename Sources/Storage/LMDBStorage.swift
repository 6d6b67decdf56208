package import Base
import CLMDB
import Glibc
import Synchronization

/// The `RevisionStorage` of production: one LMDB file.
///
/// Commits sync twice (pages, then the header), so a crash leaves the state before or after, never
/// between. Locks are taken in this order: `maintenance`, `replacing`, `writing`, `slots`,
/// `exports`, `current`.
package final class LMDBStorage: RevisionStorage, @unchecked Sendable {
  /// The steps of maintenance at which a test can end the process.
  package enum Step: CaseIterable, Sendable {
    case copied
    case caughtUp
    case synced
    case renamed
    case swapped
  }

  package struct Options: Sendable {
    /// Address space to map at first, in bytes; doubled whenever the file outgrows it.
    package var mapBytes = 64 << 30
    /// Most readers that hold a snapshot at once.
    package var readersMax = 512
    /// Opens an existing file without changing it or anything beside it, and without locking it: for a
    /// copy that nobody writes to. Every change fails.
    package var isReadOnly = false
    /// Makes each commit durable. Otherwise a crash may leave anything: for a file that nobody trusts
    /// before all of it is written and synced. What commits write goes to the disk in steps then, and
    /// they wait for it when they are far ahead (`WriteBehind`).
    package var syncsCommits = true
    /// Called at each step of a defragmentation or an install.
    package var atStep: (@Sendable (Step) -> Void)?

    package init() {}
  }

  /// After how many bytes a scan drops the pages that it made resident.
  static let scanResidentBytesMax = 32 << 20
  /// How much catching up may be left when a defragmentation stops commits.
  static let catchUpBytesMax = 1 << 20
  /// How much one transaction of catching up carries. LMDB keeps the memory of the largest one.
  static let catchUpBatchBytesMax = 4 << 20
  /// How often a defragmentation catches up before it stops commits.
  static let catchUpRoundsMax = 8
  private static let attemptsMax = 64

  /// Where the readers find the environment.
  enum Current {
    case open(LMDBEnvironment)
    case reopening
    case failed(StorageError)
  }

  struct PreparedCopy {
    var path: String
    var environment: LMDBEnvironment
  }

  struct Writing {
    var environment: LMDBEnvironment?
    /// Replaced environments that readers may still use.
    var retired: [LMDBEnvironment] = []
    /// What was deleted since a defragmentation began to copy.
    var deletedSinceCopy: [ChangeRevision]?
    var mapBytes: Int
    /// The file was replaced, and its name may not be durable yet.
    var nameIsUnsynced = false
    /// Without `Options.syncsCommits`.
    var writeBehind = WriteBehind()
  }

  /// Where the file lies.
  package let path: String
  let options: Options
  private let owner: Int32
  let generation = Atomic<UInt64>(1)
  /// Held while a copy or a defragmentation is made.
  let maintenance = Mutex<Void>(())
  /// Held by what replaces the file (R12), from the beginning of a defragmentation to its end.
  let replacing = Mutex<Void>(())
  /// How many installs wait: a defragmentation gives up for them.
  let waitingInstalls = Atomic<Int>(0)
  /// A copy that is open and checked, to be installed.
  let prepared = Mutex<PreparedCopy?>(nil)
  let writing: Mutex<Writing>
  let slots = Mutex<[LMDBReadSlot]>([])
  /// Exports that have not ended.
  let exports = Mutex<[LMDBExport]>([])
  let current: Mutex<Current>
  private let isClosed = Atomic<Bool>(false)
  private let onDisk = Atomic<Int>(0)
  private let inUse = Atomic<Int>(0)

  /// Opens the store at `path`, or makes it there; its directory must exist.
  ///
  /// Throws `inUse`, `notAStore`, `formatNewer` or `corrupt` for what it must not touch.
  package init(path: String, options: Options = Options()) throws(StorageError) {
    self.path = path
    self.options = options
    let owner = options.isReadOnly ? -1 : try FileOperation.lockOwner(of: path)
    self.owner = owner
    let environment: LMDBEnvironment
    do throws(StorageError) {
      if !options.isReadOnly { Self.removeLeftovers(of: path) }
      environment = try LMDBEnvironment(
        path: path,
        mapBytes: options.mapBytes,
        readersMax: options.readersMax,
        isReadOnly: options.isReadOnly,
        syncsCommits: options.syncsCommits
      )
    } catch {
      if owner >= 0 { Glibc.close(owner) }
      throw error
    }
    writing = Mutex(Writing(environment: environment, mapBytes: environment.mapBytes))
    current = Mutex(.open(environment))
    publishSizes(environment)
  }

  deinit {
    close()
  }

  /// Closes the file, so that it can be opened again while references to this object live on. No
  /// reader may be between `begin` and `end`, and nothing may be under way; later calls fail.
  package func close() {
    guard !isClosed.exchange(true, ordering: .relaxed) else { return }
    // Environments close with the last reference.
    writing.withLock { writing in
      writing.environment = nil
      writing.retired = []
    }
    prepared.withLock { $0 = nil }
    current.withLock { $0 = .failed(.io(during: "use", code: EBADF, reason: "it is closed")) }
    if owner >= 0 { Glibc.close(owner) }
  }

  private static func removeLeftovers(of path: String) {
    for leftover in [path + "-lock", copyPath(of: path), copyPath(of: path) + "-lock"] {
      unlink(leftover)
    }
  }

  /// Where a defragmentation makes the new file.
  static func copyPath(of path: String) -> String { path + ".defrag" }

  package var bytesOnDisk: Int { onDisk.load(ordering: .relaxed) }

  package var bytesInUse: Int { inUse.load(ordering: .relaxed) }

  func publishSizes(_ environment: LMDBEnvironment) {
    let sizes = environment.sizes()
    onDisk.store(sizes.onDisk, ordering: .relaxed)
    inUse.store(sizes.inUse, ordering: .relaxed)
  }

  package func makeReader() -> RevisionReader {
    makeLMDBReader()
  }

  private func makeLMDBReader() -> LMDBReader {
    let slot = LMDBReadSlot(self)
    slots.withLock { $0.append(slot) }
    return LMDBReader(self, slot)
  }

  /// Whether an install waits for a defragmentation to give up. Any thread.
  package var hasWaitingInstall: Bool { waitingInstalls.load(ordering: .relaxed) > 0 }

  /// How many reads are under way. Any thread.
  package var openReads: Int {
    slots.withLock { slots in slots.count { $0.isActive } }
  }

  func remove(_ slot: LMDBReadSlot) {
    slots.withLock { slots in slots.removeAll { $0 === slot } }
  }

  /// The environment for a new read transaction, counted as used, and its generation.
  func use() throws(StorageError) -> (LMDBEnvironment, UInt64) {
    while true {
      let current = self.current.withLock { current in
        if case .open(let environment) = current {
          environment.uses.add(1, ordering: .relaxed)
        }
        return (current, generation.load(ordering: .relaxed))
      }
      switch current.0 {
      case .open(let environment): return (environment, current.1)
      case .failed(let error): throw error
      case .reopening: usleep(100)
      }
    }
  }

  package func metadata(_ key: String) throws(StorageError) -> [UInt8]? {
    let reader = makeLMDBReader()
    try reader.begin()
    defer { reader.end() }
    return try reader.slot.metadata(key)
  }

  package func forEachMetadata(
    prefix: String,
    _ visit: MetadataVisitor
  ) throws(StorageError) {
    let reader = makeLMDBReader()
    try reader.begin()
    defer { reader.end() }
    try reader.slot.forEachMetadata(prefix: prefix, visit)
  }

  package func scan(
    from first: ChangeRevision,
    through last: ChangeRevision,
    _ visit: RevisionVisitor
  ) throws(StorageError) {
    let (environment, _) = try use()
    defer { environment.uses.subtract(1, ordering: .releasing) }
    // Revisions lie nearly in the file's order, so reading ahead pays here and only here.
    environment.advise(Int32(MADV_SEQUENTIAL))
    defer { environment.advise(Int32(MADV_RANDOM)) }
    let reader = makeLMDBReader()
    try reader.begin()
    defer { reader.end() }
    _ = try reader.scan(from: first, through: last, visit)
  }

  package func dropResidentPages() {
    guard let (environment, _) = try? use() else { return }
    environment.dropResidentPages()
    environment.uses.subtract(1, ordering: .releasing)
  }

  package func commit(_ batch: RevisionBatch) throws(StorageError) {
    try writing.withLock { writing throws(StorageError) in
      closeRetired(&writing)
      try syncName(&writing)
      for _ in 0..<Self.attemptsMax {
        let environment = try ensureOpen(&writing)
        let status = environment.commit(batch)
        switch status {
        case 0:
          publishSizes(environment)
          if !options.syncsCommits {
            writing.writeBehind.advance(environment.descriptor, through: bytesOnDisk)
          }
          writing.deletedSinceCopy?.append(contentsOf: batch.deletions)
          return
        case MDB_MAP_FULL:
          writing.mapBytes *= 2
          try reopen(&writing)
        case MDB_PANIC:
          // A header could not be written; only a new environment knows which one is on disk.
          try reopen(&writing)
        case EINTR:
          continue
        default:
          // Nothing of a failed commit counts: the header still leads to the old pages, and a
          // repetition writes all new ones again. So also after a failed sync.
          throw StorageError(lmdb: status, during: "committing", path: path)
        }
      }
      throw StorageError(lmdb: EINTR, during: "committing", path: path)
    }
  }

  /// Makes sure that a crash does not bring the replaced file back; commits wait for it.
  func syncName(_ writing: inout Writing) throws(StorageError) {
    guard writing.nameIsUnsynced else { return }
    try FileOperation.syncDirectory(of: path)
    writing.nameIsUnsynced = false
  }

  private func ensureOpen(_ writing: inout Writing) throws(StorageError) -> LMDBEnvironment {
    if let environment = writing.environment { return environment }
    return try reopen(&writing)
  }

  /// Closes the environment, waiting for its readers, and opens it anew.
  @discardableResult
  private func reopen(_ writing: inout Writing) throws(StorageError) -> LMDBEnvironment {
    if let old = writing.environment {
      current.withLock { current in
        current = .reopening
        generation.add(1, ordering: .releasing)
      }
      retireReaders()
      cancelExports()
      while old.uses.load(ordering: .acquiring) != 0 { usleep(100) }
      writing.environment = nil
    }
    do throws(StorageError) {
      let environment = try LMDBEnvironment(
        path: path,
        mapBytes: writing.mapBytes,
        readersMax: options.readersMax,
        syncsCommits: options.syncsCommits
      )
      writing.environment = environment
      current.withLock { $0 = .open(environment) }
      return environment
    } catch {
      current.withLock { $0 = .failed(error) }
      throw error
    }
  }

  /// Makes every reader leave the environment that it holds, now or when it ends.
  func retireReaders() {
    slots.withLock { slots in
      for slot in slots { slot.retire() }
    }
  }

  /// Closes replaced environments that nobody uses any more; never on a reader's thread.
  func closeRetired(_ writing: inout Writing) {
    writing.retired.removeAll { $0.uses.load(ordering: .acquiring) == 0 }
  }
}
