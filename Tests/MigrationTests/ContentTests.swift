import BoltFile
import Foundation
import Migration
import Proto
import Testing

/// Databases as other releases write them, and such as none does.
@Suite struct ContentTests {
  private let directory = TemporaryDirectory()

  private typealias Records = [(key: [UInt8], value: [UInt8])]

  private func revision(_ main: Int64, sub: Int64 = 0, mark: String = "") -> [UInt8] {
    func bytes(_ number: Int64) -> [UInt8] { withUnsafeBytes(of: number.bigEndian) { Array($0) } }
    return bytes(main) + Array("_".utf8) + bytes(sub) + Array(mark.utf8)
  }

  private func pair(_ main: Int64, key: String = "k") -> [UInt8] {
    Mvccpb.KeyValue(
      key: Array(key.utf8),
      createRevision: main,
      modRevision: main,
      version: 1,
      value: Array("v\(main)".utf8)
    ).encoded()
  }

  private func number(_ value: UInt64) -> [UInt8] {
    withUnsafeBytes(of: value.bigEndian) { Array($0) }
  }

  /// A database with these buckets, and those that etcd always has.
  private func database(_ buckets: [String: Records]) throws -> SnapshotSource {
    let path = directory.file("\(UUID().uuidString).db")
    let writer = try BoltWriter(path: path)
    for name in Set(buckets.keys).union(["key", "meta"]).sorted() {
      try writer.beginBucket(name)
      for (key, value) in buckets[name] ?? [] { try writer.put(key, value) }
      try writer.endBucket()
    }
    _ = try writer.finish()
    return try SnapshotSource(path: path)
  }

  private func bring(_ source: SnapshotSource) throws -> (RestoreSummary, String) {
    let target = directory.file(UUID().uuidString)
    let own = plan(target) { $0.skipsHashCheck = true }
    return (try EtcdImport.run(source, own, keepsMembers: false, quiet), target)
  }

  private func flaw(_ buckets: [String: Records]) throws -> String {
    do {
      _ = try bring(try database(buckets))
      return "nothing was thrown"
    } catch {
      return "\(error)"
    }
  }

  @Test func release36WithARaisedRevision() throws {
    let source = try database([
      "cluster": [(Array("clusterVersion".utf8), Array("3.6.0".utf8))],
      "key": [
        (revision(2), pair(2)), (revision(3), pair(3, key: "l")),
        // So etcdutl raises a revision.
        (revision(1_000_003), []),
      ],
      "members_removed": [(Array("8e9e05c52164694d".utf8), Array("removed".utf8))],
      "meta": [
        (Array("confState".utf8), Array(#"{"voters":[7],"auto_leave":false}"#.utf8)),
        (Array("consistent_index".utf8), number(99)),
        (Array("scheduledCompactRev".utf8), revision(1_000_003)),
        (Array("storageVersion".utf8), Array("3.6.0".utf8)), (Array("term".utf8), number(7)),
      ],
    ])
    let (summary, target) = try bring(source)
    #expect(summary.revision == 1_000_003)
    #expect(summary.compacted == 1_000_003)
    let store = try OfflineStore(.dataDirectory(target), quiet)
    let figures = try store.figures()
    #expect(figures.appliedIndex == 99)
    #expect(figures.appliedTerm == 7)
    #expect(figures.compactionFinished == -1)
    #expect(try pairs(of: store).map(\.modRevision) == [2, 3])
  }

  @Test func aCompactionThatTookTheNewestRevisionDoesNotLowerIt() throws {
    let source = try database([
      "key": [(revision(2), pair(2))],
      "meta": [
        (Array("finishedCompactRev".utf8), revision(40)),
        (Array("scheduledCompactRev".utf8), revision(40)),
      ],
    ])
    let (summary, target) = try bring(source)
    #expect(summary.revision == 40)
    // Nor does a way back and forth.
    let back = directory.file("back.db")
    _ = try EtcdExport.run(try OfflineStore(.dataDirectory(target), quiet), to: back, quiet)
    #expect(try bring(SnapshotSource(path: back)).0.revision == 40)
  }

  @Test func aNewStoreIsRevisionOne() throws {
    let (summary, target) = try bring(try database([:]))
    #expect(summary.revision == 1)
    #expect(summary.compacted == -1)
    let figures = try OfflineStore(.dataDirectory(target), quiet).figures()
    #expect(figures.appliedIndex == 1)
  }

  @Test func leasesKeepWhatIsLeft() throws {
    let leases: Records = (1...25_000).map { id in
      let lease = Leasepb.Lease(id: Int64(id), ttl: 100, remainingTTL: Int64(id % 50))
      return (number(UInt64(id)), lease.encoded())
    }
    let (summary, target) = try bring(try database(["lease": leases]))
    #expect(summary.leaseCount == 25_000)
    let store = try OfflineStore(.dataDirectory(target), quiet)
    var texts: [String] = []
    try store.forEachRecord { name, _, text in
      if name.hasPrefix("lease.") { texts.append(text) }
    }
    #expect(texts.count == 25_000)
    #expect(texts.contains { $0.hasSuffix("100 s, 7 s left") })
    #expect(try store.figures().appliedIndex == 25_000)
  }

  @Test func contentThatContradictsItselfIsRefused() throws {
    let cases: [([String: Records], String)] = [
      (["key": [(Array("no revision".utf8), [1])]], "a key of bucket key is no revision"),
      (["key": [(revision(2, mark: "x"), pair(2))]], "a key of bucket key is no revision"),
      (["key": [(revision(2), pair(3))]], "the pair says that it is of revision 3"),
      (["key": [(revision(2), [0xFF, 0xFF])]], "the pair cannot be read"),
      (["key": [(revision(0), pair(0))]], "there can be no such revision"),
      (["key": [(revision(2, sub: 1 << 40), pair(2))]], "there can be no such revision"),
      (["key": [(revision(2, mark: "t"), [])]], "the pair cannot be read"),
      (["meta": [(Array("term".utf8), [1])]], "has a bad term"),
      (["meta": [(Array("consistent_index".utf8), number(.max))]], "names entry"),
      (["meta": [(Array("finishedCompactRev".utf8), [1, 2])]], "has a bad finishedCompactRev"),
      (["lease": [(number(5), Leasepb.Lease(id: 6, ttl: 1).encoded())]], "has a lease that"),
      (["lease": [(number(5), [0xFF])]], "has a lease that"),
      (["auth": [(Array("authRevision".utf8), [1])]], "has no revision"),
      (["authUsers": [([65], Authpb.User(name: [66]).encoded())]], "has a user that"),
      (["authRoles": [([65], [0xFF])]], "has a role that"),
      (["members": [([65], Array("{".utf8))]], "has a member that"),
    ]
    for (buckets, reason) in cases {
      let said = try flaw(buckets)
      #expect(said.contains("damaged") && said.contains(reason), "\(said)")
    }
  }

  @Test func membersWithTheHighestIDsAreKept() throws {
    let id = UInt64.max - 1
    let json = #"{"id":\#(id),"peerURLs":["http://127.0.0.1:1"],"name":"high"}"#
    let source = try database(["members": [(Array("fffffffffffffffe".utf8), Array(json.utf8))]])
    let own = plan(directory.file("data")) { plan in
      plan.name = "high"
      plan.skipsHashCheck = true
    }
    let summary = try EtcdImport.run(source, own, keepsMembers: true, quiet)
    #expect("\(summary.memberID)" == "fffffffffffffffe")
  }

  @Test func aBboltFileOfSomethingElseIsRefused() throws {
    let path = directory.file("other.db")
    let writer = try BoltWriter(path: path)
    try writer.beginBucket("widgets")
    try writer.endBucket()
    _ = try writer.finish()
    let source = try SnapshotSource(path: path)
    #expect {
      _ = try bring(source)
    } throws: { "\($0)".contains("a bbolt file, but not one of etcd's") }
  }
}
