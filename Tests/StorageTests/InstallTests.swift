import Base
import Foundation
import Storage
import Synchronization
import Testing

/// A snapshot takes the file's place (R12).
@Suite struct InstallTests {
  private let directory = TemporaryDirectory()

  private var path: String { directory.file("db") }

  private func fill(_ base: LMDBStorage, _ mains: Range<Int64>, bytes: Int) throws {
    let store = TieredStorage(over: base)
    for main in mains {
      let revision = ChangeRevision(main: main, sub: 0)
      store.append(revision, Record(tombstone: false, bytes: testValue(revision, length: bytes)))
    }
    try store.flush([("applied", littleEndian(mains.upperBound))])
  }

  @Test func anInstallEndsADefragmentation() throws {
    let copy = directory.file("copy")
    do {
      let other = try LMDBStorage(path: directory.file("other"))
      try fill(other, 2..<100, bytes: 300)
      try other.copyCompacted(to: copy)
    }
    try LMDBStorage.check(copyAt: copy)
    let isInstalled = Atomic<Bool>(false)
    var options = LMDBStorage.Options()
    let (begun, waits) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
    options.atStep = { step in
      guard step == .copied, !isInstalled.load(ordering: .relaxed) else { return }
      begun.signal()
      waits.wait()
    }
    let base = try LMDBStorage(path: path, options: options)
    try fill(base, 2..<600, bytes: 5000)
    try base.prepareInstall(from: copy)
    let group = DispatchGroup()
    let errors = Mutex<[String]>([])
    group.enter()
    Thread.detachNewThread {
      defer { group.leave() }
      do {
        // Its second round of catching up comes only when the install waits.
        try base.defragment(isCancelled: { false })
      } catch {
        errors.withLock { $0.append("\(error)") }
      }
    }
    begun.wait()
    group.enter()
    Thread.detachNewThread {
      defer { group.leave() }
      do {
        try base.install(from: copy)
        try base.syncInstall()
        isInstalled.store(true, ordering: .relaxed)
      } catch {
        errors.withLock { $0.append("install: \(error)") }
      }
    }
    while !base.hasWaitingInstall { usleep(100) }
    waits.signal()
    group.wait()
    #expect(errors.withLock { $0 } == ["\(StorageError.cancelled)"])
    #expect(try base.contents().count == 98)
    #expect(directory.names.filter { $0.hasPrefix("db") }.sorted() == ["db", "db.owner"])
    try fill(base, 1000..<1100, bytes: 300)
    try base.defragment(isCancelled: { false })
    #expect(try base.contents().count == 198)
  }
}
