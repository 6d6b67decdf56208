import Base
import Foundation
import Migration
import Proto
import Testing

@Suite struct ImportTests {
  private let directory = TemporaryDirectory()

  private func fails(
    _ path: String,
    _ plan: MemberPlan,
    keepsMembers: Bool = false
  ) throws -> String {
    do {
      let source = try SnapshotSource(path: path)
      _ = try EtcdImport.run(source, plan, keepsMembers: keepsMembers, quiet)
      return "nothing was thrown"
    } catch {
      return "\(error)"
    }
  }

  @Test(arguments: EtcdFile.all)
  func everythingIsTakenOver(file: EtcdFile) throws {
    let target = directory.file("data")
    let summary = try EtcdImport.run(file.source(), plan(target), keepsMembers: false, quiet)
    #expect(summary.revision == EtcdFile.revision)
    #expect(summary.compacted == EtcdFile.compacted)
    #expect(summary.leaseCount == 1)
    #expect(summary.userCount == 2)
    #expect(summary.roleCount == 1)
    #expect(summary.isAuthEnabled == file.isAuthEnabled)
    #expect(summary.alarmCount == file.alarmCount)
    #expect("\(summary.memberID)" == "8e9e05c52164694d")
    #expect("\(summary.clusterID)" == "cdf818194e3a8c32")
    let store = try OfflineStore(.dataDirectory(target), quiet)
    #expect(store.unappliedCount == 0)
    #expect(try OfflineHash(of: store, revision: 0).hash == file.hash)
    let original = try OfflineStore(.file(file.source()), quiet)
    for revision in EtcdFile.compacted...EtcdFile.revision {
      let found = try pairs(of: store, at: revision)
      #expect(found == (try pairs(of: original, at: revision)))
      #expect(found.count >= 20, "revision \(revision)")
    }
    #expect(try pairs(of: store).last { $0.key == Array("leased".utf8) }?.lease != 0)
    #expect(directory.names == ["data"])
  }

  @Test(arguments: EtcdFile.all)
  func offlineHashesAreThoseOfEtcd(file: EtcdFile) throws {
    let store = try OfflineStore(.file(file.source()), quiet)
    let found = try OfflineHash(of: store, revision: 0)
    #expect(found.hash == file.hash)
    #expect(found.hashRevision == EtcdFile.revision)
    #expect(found.compactRevision == EtcdFile.compacted)
    #expect(throws: MigrationError.flags("revision 4 has been compacted; compacted is 4")) {
      try OfflineHash(of: store, revision: 4)
    }
    #expect(throws: MigrationError.flags("revision 12 is not there yet; the newest is 11")) {
      try OfflineHash(of: store, revision: 12)
    }
  }

  @Test func aRaisedRevisionHidesWhatWasBefore() throws {
    let target = directory.file("data")
    let raised = plan(target) { plan in
      plan.bumpsRevisionBy = 1_000_000_000
      plan.marksCompacted = true
    }
    let summary = try EtcdImport.run(
      EtcdFile.release34.source(),
      raised,
      keepsMembers: false,
      quiet
    )
    #expect(summary.revision == EtcdFile.revision + 1_000_000_000)
    #expect(summary.compacted == summary.revision)
    let store = try OfflineStore(.dataDirectory(target), quiet)
    #expect(throws: MigrationError.self) { try pairs(of: store, at: EtcdFile.revision) }
    let original = try OfflineStore(.file(EtcdFile.release34.source()), quiet)
    #expect(try pairs(of: store) == pairs(of: original))
    // And the way back does not lower it.
    let back = directory.file("back.db")
    _ = try EtcdExport.run(store, to: back, quiet)
    let again = try OfflineStore(.file(SnapshotSource(path: back)), quiet)
    #expect(try again.figures().revision == summary.revision)
    // etcd 3.4 goes on from there, and not from a compaction that is scheduled.
    #expect(try again.figures().compactionFinished == summary.revision)
  }

  @Test func membersOfOneClusterMakeOneTable() throws {
    let cluster = "a=http://127.0.0.1:1,b=http://127.0.0.1:2,c=http://127.0.0.1:3"
    var clusters: Set<ClusterID> = []
    var members: Set<MemberID> = []
    for (number, name) in ["a", "b", "c"].enumerated() {
      let own = plan(directory.file(name)) { plan in
        plan.name = name
        plan.initialCluster = cluster
        plan.advertisePeerURLs = "http://127.0.0.1:\(number + 1)"
      }
      let summary = try EtcdImport.run(EtcdFile.release34.source(), own, keepsMembers: false, quiet)
      clusters.insert(summary.clusterID)
      members.insert(summary.memberID)
      let store = try OfflineStore(.dataDirectory(directory.file(name)), quiet)
      #expect(try store.figures().memberCount == 3)
    }
    #expect(clusters.count == 1)
    #expect(members.count == 3)
  }

  @Test(arguments: EtcdFile.all)
  func membersCanBeKept(file: EtcdFile) throws {
    let own = plan(directory.file("kept")) { $0.name = "m1" }
    let summary = try EtcdImport.run(file.source(), own, keepsMembers: true, quiet)
    #expect(summary.memberID != MemberID.none)
    let other = plan(directory.file("other")) { $0.name = "nobody" }
    #expect(
      try fails(file.path, other, keepsMembers: true)
        == "--keep-members: the snapshot knows no member nobody, but m1"
    )
  }

  @Test func theLogCanLieElsewhere() throws {
    let elsewhere = plan(directory.file("data")) { $0.logDirectory = directory.file("wal") }
    _ = try EtcdImport.run(EtcdFile.release34.source(), elsewhere, keepsMembers: false, quiet)
    var kinds: [String] = []
    try LogInspection.forEachRecord(dataDirectory: directory.file("data"), range: 1 ... .max) {
      kinds.append($0.kind)
      #expect($0.file.hasPrefix(directory.file("data")))
    }
    #expect(kinds.contains("snapshot"))
    let named = OfflineStore.Origin.dataDirectory(
      directory.file("data"),
      logDirectory: directory.file("wal")
    )
    #expect(try OfflineStore(named, quiet).unappliedCount == 0)
    #expect(directory.names == ["data", "wal"])
    #expect(
      try fails(
        EtcdFile.release34.path,
        plan(directory.file("b")) { $0.logDirectory = directory.file("wal") }
      )
        == "wal-dir \"\(directory.file("wal"))\" exists"
    )
  }

  @Test func aLogThatIsNotFoundIsMissed() throws {
    let path = directory.file("data")
    _ = try EtcdImport.run(EtcdFile.release34.source(), plan(path), keepsMembers: false, quiet)
    try FileManager.default.moveItem(atPath: "\(path)/member/log", toPath: directory.file("log"))
    #expect {
      try OfflineStore(.dataDirectory(path), quiet)
    } throws: { "\($0)".contains("--wal-dir says where") }
    let elsewhere = directory.file("log")
    #expect(
      try OfflineStore(.dataDirectory(path, logDirectory: elsewhere), quiet).unappliedCount == 0
    )
    #expect {
      try OfflineStore(.dataDirectory(path, logDirectory: "\(elsewhere)/x"), quiet)
    } throws: { "\($0)".contains("no such directory") }
  }

  @Test func whatIsThereIsLeftAlone() throws {
    let taken = directory.file("data")
    _ = try EtcdImport.run(EtcdFile.release34.source(), plan(taken), keepsMembers: false, quiet)
    #expect(
      try fails(EtcdFile.release34.path, plan(taken))
        == "data-dir \"\(taken)\" not empty or could not be read"
    )
    _ = try directory.write([1], to: "file")
    #expect(try fails(EtcdFile.release34.path, plan(directory.file("file"))).contains("not empty"))
    #expect(directory.names == ["data", "file"])
  }

  @Test func flagsThatContradictEachOtherAreRefused() throws {
    let target = directory.file("data")
    let cases: [(String, (inout MemberPlan) -> Void)] = [
      ("--initial-cluster does not name this member, x", { $0.name = "x" }),
      ("--initial-cluster: ", { $0.initialCluster = "nonsense" }),
      ("--initial-advertise-peer-urls ", { $0.advertisePeerURLs = "http://127.0.0.1:9" }),
      ("--mark-compacted goes with --bump-revision", { $0.bumpsRevisionBy = 5 }),
      ("--mark-compacted goes with --bump-revision", { $0.marksCompacted = true }),
      (
        "--bump-revision is at most ",
        { plan in
          plan.bumpsRevisionBy = .max
          plan.marksCompacted = true
        }
      ),
    ]
    for (text, change) in cases {
      let error = try fails(EtcdFile.release34.path, plan(target, change))
      #expect(error.contains(text), "\(error)")
    }
    #expect(directory.names == [])
  }
}
