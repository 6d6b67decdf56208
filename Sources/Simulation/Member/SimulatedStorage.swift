import Base
import Replica
import Storage
import Synchronization

/// The store's file of a simulated member, which may lose what a broken rule says.
final class SimulatedStorage: RevisionStorage {
  private let memory: MemoryStorage
  private let broken: BrokenRule?
  private let isFirstHalf = Atomic<Bool>(true)

  init(_ disk: MemoryDisk, _ broken: BrokenRule?) {
    memory = MemoryStorage(disk: disk, path: Self.path)
    self.broken = broken
  }

  static let path = "db"
  private let fault = Mutex<StorageError?>(nil)

  /// While set, the disk takes nothing.
  func setCommitFault(_ error: StorageError?) {
    memory.setCommitFault(error)
    fault.withLock { $0 = error }
  }

  /// Writes what a machine without data starts from.
  func found(_ origin: StoredMetadata) throws(StorageError) {
    try memory.commit(RevisionBatch(metadata: origin.encoded()))
  }

  func commit(_ batch: RevisionBatch) throws(StorageError) {
    var batch = batch
    switch broken {
    case .applyTwice:
      batch.metadata.removeAll { $0.key == StoredMetadata.appliedKey }
    case .flushInTwoHalves:
      if !batch.metadata.isEmpty, isFirstHalf.exchange(false, ordering: .relaxed) {
        try memory.commit(RevisionBatch(metadata: batch.metadata))
        // The flusher comes back for the second half, unless the power goes before.
        throw .io(during: "commit", code: 5, reason: "half is written")
      }
      isFirstHalf.store(true, ordering: .relaxed)
    default: break
    }
    try memory.commit(batch)
  }

  func makeReader() -> RevisionReader { memory.makeReader() }
  func metadata(_ key: String) throws(StorageError) -> [UInt8]? { try memory.metadata(key) }
  func forEachMetadata(
    prefix: String,
    _ visit: MetadataVisitor
  ) throws(StorageError) {
    try memory.forEachMetadata(prefix: prefix, visit)
  }
  func scan(
    from first: ChangeRevision,
    through last: ChangeRevision,
    _ visit: RevisionVisitor
  ) throws(StorageError) {
    try memory.scan(from: first, through: last, visit)
  }
  var bytesOnDisk: Int { memory.bytesOnDisk }
  var bytesInUse: Int { memory.bytesInUse }
  func copyCompacted(to path: String) throws(StorageError) { try memory.copyCompacted(to: path) }
  func defragment(isCancelled: () -> Bool) throws(StorageError) {
    try memory.defragment(isCancelled: isCancelled)
  }
  func install(from path: String) throws(StorageError) {
    if let error = fault.withLock({ $0 }) { throw error }
    try memory.install(from: path)
  }
  func dropResidentPages() {}
}
