import Base
import Glibc
import Storage
import Testing

/// Processes that are killed, and disks that fill up.
@Suite struct CrashTests {
  /// Revision 2 to `last`, and everything that must go with it.
  private static func flush(_ store: TieredStorage, _ mains: ClosedRange<Int64>) throws {
    for main in mains {
      let revision = ChangeRevision(main: main, sub: 0)
      store.append(revision, record(main))
    }
    try store.flush([("applied", littleEndian(mains.upperBound))])
  }

  private static func record(_ main: Int64) -> Record {
    let revision = ChangeRevision(main: main, sub: 0)
    return Record(
      tombstone: main % 5 == 0,
      bytes: testValue(revision, length: testLength(revision))
    )
  }

  private static func isDoomed(_ main: Int64) -> Bool { main % 3 == 0 && main < 2000 }

  /// The state hangs together: all up to the applied index, nothing beyond. Answers the index.
  private func check(_ base: LMDBStorage, mayLack doomed: (Int64) -> Bool) throws -> Int64 {
    let applied = integer(try base.metadata("applied"))
    let content = try base.contents()
    for (revision, found) in content {
      #expect(revision.main <= applied)
      #expect(found == Self.record(revision.main), "\(revision)")
    }
    for main in stride(from: 2, through: applied, by: 1) where !doomed(main) {
      #expect(content[ChangeRevision(main: main, sub: 0)] != nil, "\(main) of \(applied)")
    }
    return applied
  }

  @Test(arguments: LMDBStorage.Step.allCases)
  func killedDuringDefragmentation(step: LMDBStorage.Step) async throws {
    let directory = TemporaryDirectory()
    let path = directory.file("db")
    let name = "\(step)"
    await #expect(processExitsWith: .signal(SIGKILL)) {
      [path = path as String, name = name as String] in
      var options = LMDBStorage.Options()
      options.atStep = { if "\($0)" == name { kill(getpid(), SIGKILL) } }
      let store = TieredStorage(over: try LMDBStorage(path: path, options: options))
      try CrashTests.flush(store, 2...3000)
      store.delete((2..<2000).filter(CrashTests.isDoomed).map { ChangeRevision(main: $0, sub: 0) })
      try CrashTests.flush(store, 3001...3100)
      while try store.commitDeletions(countMax: 100) == .more {}
      try store.defragment()
    }
    let base = try LMDBStorage(path: path)
    #expect(try check(base, mayLack: Self.isDoomed) == 3100)
    #expect(try base.contents().count == 3099 - (2..<2000).filter(Self.isDoomed).count)
    #expect(directory.names == ["db", "db.owner"])
    try Self.flush(TieredStorage(over: base), 3101...3200)
    #expect(try check(base, mayLack: Self.isDoomed) == 3200)
  }

  @Test(arguments: [LMDBStorage.Step.synced, .renamed, .swapped])
  func killedDuringInstall(step: LMDBStorage.Step) async throws {
    let directory = TemporaryDirectory()
    let path = directory.file("db")
    let copy = directory.file("copy")
    let name = "\(step)"
    await #expect(processExitsWith: .signal(SIGKILL)) {
      [path = path as String, copy = copy as String, name = name as String] in
      let source = TieredStorage(over: try LMDBStorage(path: copy + ".source"))
      try CrashTests.flush(source, 2...500)
      try source.copySnapshot(to: copy)
      var options = LMDBStorage.Options()
      options.atStep = { if "\($0)" == name { kill(getpid(), SIGKILL) } }
      let store = TieredStorage(over: try LMDBStorage(path: path, options: options))
      try CrashTests.flush(store, 2...100)
      try store.install(from: copy)
    }
    let applied = try check(try LMDBStorage(path: path)) { _ in false }
    #expect(applied == (step == .synced ? 100 : 500))
  }

  @Test(arguments: 1...6 as ClosedRange<UInt64>)
  func killedAtAnyMoment(seed: UInt64) async throws {
    let directory = TemporaryDirectory()
    let path = directory.file("db")
    let told = directory.file("told")
    await #expect(processExitsWith: .signal(SIGKILL)) {
      [path = path as String, told = told as String, seed = seed as UInt64] in
      var generator = SeededGenerator(seed: seed)
      // Whenever it strikes, what follows must hold.
      let microseconds = UInt32.random(in: 5000...400_000, using: &generator)
      let store = TieredStorage(over: try LMDBStorage(path: path))
      runThreads([
        {
          usleep(microseconds)
          kill(getpid(), SIGKILL)
        },
        {
          while true { try? store.defragment() }
        },
        {
          var main: Int64 = 2
          while main < 10_000_000 {
            let count: Int64 = main % 7 == 0 ? 2000 : 50
            do { try CrashTests.flush(store, main...main + count) } catch { abort() }
            writeFile(told + ".new", littleEndian(main + count))
            rename(told + ".new", told)
            main += count + 1
            if main < 2000 {
              store.delete(
                (max(2, main - 50)..<main).filter(CrashTests.isDoomed).map {
                  ChangeRevision(main: $0, sub: 0)
                }
              )
            }
            _ = try? store.commitDeletions(countMax: 10)
          }
        },
      ])
    }
    let applied = try check(try LMDBStorage(path: path), mayLack: Self.isDoomed)
    #expect(applied >= integer(readFile(told)), "seed \(seed)")
    #expect(directory.names.filter { $0.hasPrefix("db") } == ["db", "db.owner"])
  }

  @Test func fileSizeLimitIsADiskFull() async {
    let directory = TemporaryDirectory()
    let path = directory.file("db")
    await #expect(processExitsWith: .success) { [path = path as String] in
      signal(SIGXFSZ, SIG_IGN)
      let store = TieredStorage(over: try LMDBStorage(path: path))
      try CrashTests.flush(store, 2...100)
      try CrashTests.survivesFullDisk(
        store,
        fill: { limitFileSize(8192) },
        free: { limitFileSize(.max) }
      )
    }
  }

  @Test(.enabled(if: geteuid() == 0, "mounts a small disk"))
  func fullDiskLosesNothing() throws {
    let directory = TemporaryDirectory()
    let disk = directory.file("disk")
    mkdir(disk, 0o700)
    guard mount("tmpfs", disk, "tmpfs", 0, "size=2m") == 0 else {
      print("mounting a tmpfs is not allowed here: \(errno)")
      return
    }
    defer {
      umount2(disk, Int32(MNT_DETACH))
      rmdir(disk)
    }
    let store = TieredStorage(over: try LMDBStorage(path: disk + "/db"))
    try Self.flush(store, 2...100)
    try Self.survivesFullDisk(
      store,
      fill: { writeFile(disk + "/ballast", [UInt8](repeating: 1, count: 4 << 20)) },
      free: { unlink(disk + "/ballast") }
    )
  }

  private static func expect(_ store: TieredStorage, applied: Int64, count: Int) throws {
    let foundApplied = integer(try store.metadata("applied"))
    let foundCount = try store.base.contents().count
    precondition(foundApplied == applied && foundCount == count, "\(foundApplied) \(foundCount)")
  }

  /// A job that met a full disk is readable, undone, and succeeds when there is space again.
  private static func survivesFullDisk(
    _ store: TieredStorage,
    fill: () -> Void,
    free: () -> Void
  ) throws {
    fill()
    for main in 101...3000 as ClosedRange<Int64> {
      store.append(ChangeRevision(main: main, sub: 0), record(main))
    }
    guard let job = store.seal(metadata: [("applied", littleEndian(3000))]) else { abort() }
    for _ in 0..<3 {
      do throws(StorageError) {
        try job.run()
        preconditionFailure("committed on a full disk")
      } catch {
        guard case .diskFull = error else { preconditionFailure("\(error)") }
      }
      do throws(StorageError) {
        try store.defragment()
        preconditionFailure("defragmented on a full disk")
      } catch {
        guard case .diskFull = error else { preconditionFailure("\(error)") }
      }
    }
    try expect(store, applied: 100, count: 99)
    let reader = store.makeReader()
    reader.begin()
    for main in [2, 100, 101, 3000] as [Int64] {
      let found = try reader.record(of: ChangeRevision(main: main, sub: 0))
      precondition(found == record(main), "\(main)")
    }
    reader.end()
    free()
    try job.run()
    store.finish(job)
    try expect(store, applied: 3000, count: 2999)
  }
}

private func limitFileSize(_ bytes: UInt) {
  var limit = rlimit()
  getrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
  limit.rlim_cur = min(bytes, limit.rlim_max)
  setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
}
