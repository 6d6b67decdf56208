import Foundation
import Migration
import Testing

@Suite struct RoundTripTests {
  private let directory = TemporaryDirectory()

  private func imported(_ file: EtcdFile = .release34) throws -> String {
    let path = directory.file("data")
    _ = try EtcdImport.run(file.source(), plan(path), keepsMembers: false, quiet)
    return path
  }

  @Test(arguments: EtcdFile.all)
  func exportingGivesTheSameHistory(original: EtcdFile) throws {
    let store = try OfflineStore(.dataDirectory(imported(original)), quiet)
    let file = directory.file("exported.db")
    let summary = try EtcdExport.run(store, to: file, quiet)
    #expect(summary.revision == EtcdFile.revision)
    #expect(summary.leaseCount == 1)
    #expect(summary.userCount == 2)
    #expect(summary.sizeBytes % 512 == 32)
    let source = try SnapshotSource(path: file)
    let again = try OfflineStore(.file(source), quiet)
    #expect(try OfflineHash(of: again, revision: 0).hash == original.hash)
    for revision in EtcdFile.compacted...EtcdFile.revision {
      #expect(try pairs(of: again, at: revision) == pairs(of: store, at: revision))
    }
    // Its SHA-256 holds: nothing is skipped.
    let second = try EtcdImport.run(
      source,
      plan(directory.file("second")),
      keepsMembers: false,
      quiet
    )
    #expect(second.revision == EtcdFile.revision)
    #expect(second.leaseCount == 1)
    #expect(second.userCount == 2)
    #expect(second.isAuthEnabled == original.isAuthEnabled)
    #expect(throws: MigrationError.exists("\(file) exists")) {
      try EtcdExport.run(store, to: file, quiet)
    }
    #expect(directory.names == ["data", "exported.db", "second"])
  }

  /// What is looked at, or exported again, is all of an etcd file.
  @Test(arguments: EtcdFile.all)
  func aFileOfEtcdsIsAWholeStore(original: EtcdFile) throws {
    let store = try OfflineStore(.file(original.source()), quiet)
    let figures = try store.figures()
    #expect(figures.leaseCount == 1)
    #expect(figures.userCount == 2)
    #expect(figures.isAuthEnabled == original.isAuthEnabled)
    #expect(figures.memberCount == 1)
    #expect(try #require(figures.appliedIndex) > UInt64(EtcdFile.revision))
    let file = directory.file("exported.db")
    _ = try EtcdExport.run(store, to: file, quiet)
    let again = try EtcdImport.run(
      SnapshotSource(path: file),
      plan(directory.file("data")) { $0.name = "m1" },
      keepsMembers: true,
      quiet
    )
    #expect(again.leaseCount == 1)
    #expect(again.userCount == 2)
    #expect(again.isAuthEnabled == original.isAuthEnabled)
  }

  @Test(arguments: EtcdFile.all)
  func theStatusIsWhatEtcdsToolsPrint(file: EtcdFile) throws {
    let status = try SnapshotStatus(of: file.source(), quiet)
    #expect(status.hash == file.statusHash)
    #expect(status.revision == EtcdFile.revision)
    #expect(status.recordCount == file.recordCount)
    #expect(status.sizeBytes == file.databaseBytes)
  }

  @Test func aStoreFileIsRestored() throws {
    let path = try imported()
    let file = try SnapshotSource(path: "\(path)/member/db/store.mdb")
    let status = try SnapshotStatus(of: file, quiet)
    #expect(status.revision == EtcdFile.revision)
    let target = directory.file("restored")
    #expect(throws: MigrationError.self) { try SnapshotRestore.run(file, plan(target), quiet) }
    let own = plan(target) { plan in
      plan.skipsHashCheck = true
      plan.bumpsRevisionBy = 10
      plan.marksCompacted = true
    }
    let summary = try SnapshotRestore.run(file, own, quiet)
    #expect(summary.revision == EtcdFile.revision + 10)
    #expect(summary.compacted == summary.revision)
    #expect(summary.leaseCount == 1)
    #expect(summary.userCount == 2)
    let before = try OfflineStore(.dataDirectory(path), quiet)
    let after = try OfflineStore(.dataDirectory(target), quiet)
    #expect(try pairs(of: before) == pairs(of: after))
    #expect(directory.names == ["data", "restored"])
  }

  @Test func eachKindNamesTheCommandForTheOther() throws {
    let file = try SnapshotSource(path: "\(try imported())/member/db/store.mdb")
    let target = plan(directory.file("target"))
    #expect {
      try EtcdImport.run(file, target, keepsMembers: false, quiet)
    } throws: { "\($0)".contains("martletutl snapshot restore") }
    #expect {
      try SnapshotRestore.run(EtcdFile.release34.source(), target, quiet)
    } throws: { "\($0)".contains("martletutl migrate import") }
  }

  @Test func defragmentationKeepsEverything() throws {
    let path = try imported()
    let hash = try { try OfflineHash(of: OfflineStore(.dataDirectory(path), quiet), revision: 0) }()
    let done = try OfflineDefragmentation(dataDirectory: path)
    #expect(done.bytesAfter <= done.bytesBefore)
    let store = try OfflineStore(.dataDirectory(path), quiet)
    #expect(try OfflineHash(of: store, revision: 0).hash == hash.hash)
    // Nobody gets in while it is open.
    #expect(throws: (any Error).self) { try OfflineDefragmentation(dataDirectory: path) }
    #expect(throws: (any Error).self) { try OfflineStore(.dataDirectory(path), quiet) }
  }

  @Test func directoriesWithoutAMemberAreRefused() throws {
    #expect {
      try OfflineStore(.dataDirectory(directory.path), quiet)
    } throws: { "\($0)".contains("no data directory of Martlet") }
    try FileManager.default.createDirectory(
      atPath: directory.file("etcd/member/snap"),
      withIntermediateDirectories: true
    )
    #expect {
      try OfflineDefragmentation(dataDirectory: directory.file("etcd"))
    } throws: { "\($0)".contains("is an etcd data directory") }
    #expect(directory.names == ["etcd"])
  }
}
