import Base
import Storage
import Testing

/// Random operations against a dictionary, over both stores, with crashes in between.
@Suite struct ModelTests {
  /// What must be true of a store, kept by the simplest means.
  private struct Model {
    /// What the index names.
    var live: [ChangeRevision: Record] = [:]
    /// `live` as of the last finished job.
    var durable: [ChangeRevision: Record] = [:]
    /// Out of `durable`'s index already, and perhaps still stored.
    var durableDoomed: [ChangeRevision: Record] = [:]
    var doomed: [ChangeRevision: Record] = [:]
    var applied: Int64 = 0
    var durableApplied: Int64 = 0
  }

  private struct Sealed {
    let job: FlushJob
    let live: [ChangeRevision: Record]
    let doomed: [ChangeRevision: Record]
    let applied: Int64
  }

  private struct Run {
    var generator: SeededGenerator
    let open: () throws -> any RevisionStorage
    var store: TieredStorage
    var reader: StorageReader
    var model = Model()
    var sealed: [Sealed] = []
    var next = ChangeRevision(main: 2, sub: 0)

    init(seed: UInt64, open: @escaping () throws -> any RevisionStorage) throws {
      generator = SeededGenerator(seed: seed)
      self.open = open
      store = TieredStorage(over: try open())
      reader = store.makeReader()
    }

    mutating func step() throws {
      switch Int.random(in: 0..<100, using: &generator) {
      case 0..<60: append()
      case 60..<75: try read()
      case 75..<82: seal()
      case 82..<90: try flushOne()
      case 90..<94: delete()
      case 94..<97:
        _ = try store.commitDeletions(countMax: Int.random(in: 1...20, using: &generator))
      case 97: try store.defragment()
      case 98: try scanEverything()
      default: try crash()
      }
    }

    private mutating func append() {
      for _ in 0..<Int.random(in: 1...20, using: &generator) {
        let length =
          Int.random(in: 0..<200, using: &generator) == 0
          ? Int.random(in: 0...600_000, using: &generator)
          : Int.random(in: 0...3000, using: &generator)
        let record = Record(
          tombstone: Bool.random(using: &generator),
          bytes: testValue(next, length: length)
        )
        store.append(next, record)
        model.live[next] = record
        model.applied += 1
        switch Int.random(in: 0..<10, using: &generator) {
        case 0..<5: next = ChangeRevision(main: next.main + 1, sub: 0)
        case 5..<9: next.sub += 1
        default:
          next = ChangeRevision(
            main: next.main + Int64.random(in: 2...90, using: &generator),
            sub: 3
          )
        }
      }
    }

    private mutating func read() throws {
      reader.begin()
      defer { reader.end() }
      for (revision, record) in model.live.sample(30, using: &generator) {
        #expect(try reader.record(of: revision) == record, "\(revision)")
      }
      #expect(try reader.record(of: next) == nil)
    }

    private mutating func seal() {
      let metadata: MetadataChanges = [(key: "applied", value: littleEndian(model.applied))]
      guard let job = store.seal(metadata: metadata) else { return }
      sealed.append(
        Sealed(job: job, live: model.live, doomed: model.doomed, applied: model.applied)
      )
    }

    private mutating func flushOne() throws {
      guard let first = sealed.first else { return }
      sealed.removeFirst()
      try first.job.run()
      store.finish(first.job)
      model.durable = first.live
      model.durableDoomed = first.doomed
      model.durableApplied = first.applied
    }

    private mutating func delete() {
      let doomed = model.live.sample(25, using: &generator)
      for (revision, record) in doomed {
        model.live[revision] = nil
        model.doomed[revision] = record
      }
      store.delete(doomed.map(\.0))
    }

    private mutating func scanEverything() throws {
      var found: [ChangeRevision: Record] = [:]
      var last: ChangeRevision?
      reader.begin()
      try reader.scan(from: .first, through: .last) { revision, tombstone, bytes in
        if let last { #expect(last < revision) }
        last = revision
        found[revision] = Record(tombstone: tombstone, bytes: [UInt8](bytes))
        return true
      }
      reader.end()
      check(found, holds: model.live, andAtMost: model.doomed)
    }

    private func check(
      _ found: [ChangeRevision: Record],
      holds live: [ChangeRevision: Record],
      andAtMost doomed: [ChangeRevision: Record]
    ) {
      for (revision, record) in live { #expect(found[revision] == record, "\(revision)") }
      for (revision, record) in found where live[revision] == nil {
        #expect(doomed[revision] == record, "\(revision)")
      }
    }

    /// Everything in memory is lost; what a finished job committed is there, and nothing newer.
    mutating func crash() throws {
      sealed = []
      reader = TieredStorage(over: MemoryStorage()).makeReader()
      store = TieredStorage(over: MemoryStorage())
      try reopen()
    }

    private mutating func reopen() throws {
      let base = try open()
      let found = try base.contents()
      check(found, holds: model.durable, andAtMost: model.durableDoomed)
      #expect(integer(try base.metadata("applied")) == model.durableApplied)
      store = TieredStorage(over: base)
      reader = store.makeReader()
      model.live = model.durable
      // What a restart finds beyond its index it deletes again.
      model.doomed = found.filter { model.durable[$0.key] == nil }
      model.durableDoomed = model.doomed
      store.delete(model.doomed.keys.sorted())
      model.applied = model.durableApplied
      // Log entries that were lost apply anew, with the same revisions as before.
      let highest = (Array(model.live.keys) + Array(model.doomed.keys)).max()
      next = ChangeRevision(main: max((highest?.main ?? 1) + 1, 2), sub: 0)
    }
  }

  @Test(arguments: 1...12 as ClosedRange<UInt64>)
  func memory(seed: UInt64) throws {
    let disk = MemoryDisk()
    var run = try Run(seed: seed) { MemoryStorage(disk: disk) }
    for _ in 0..<400 { try run.step() }
    try run.crash()
  }

  @Test(arguments: 1...8 as ClosedRange<UInt64>)
  func lmdb(seed: UInt64) throws {
    let directory = TemporaryDirectory()
    var run = try Run(seed: seed) { try LMDBStorage(path: directory.file("db")) }
    for _ in 0..<400 { try run.step() }
    try run.crash()
  }
}

extension Dictionary where Key: Comparable {
  /// Up to `count` pairs, chosen by the generator alone.
  fileprivate func sample(
    _ count: Int,
    using generator: inout SeededGenerator
  ) -> [(Key, Value)] {
    let keys = self.keys.sorted()
    guard !keys.isEmpty else { return [] }
    var chosen: Set<Key> = []
    for _ in 0..<count { chosen.insert(keys[Int.random(in: 0..<keys.count, using: &generator)]) }
    return chosen.sorted().compactMap { key in self[key].map { (key, $0) } }
  }
}
