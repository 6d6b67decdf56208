import Base
import MartletServer
import Proto
import RPC
import Testing

@Suite("A running member: cluster and maintenance")
struct ServicesTests {
  @Test("member list and status with default flags")
  func identity() async throws {
    try await withMember { member in
      for isLinearizable in [false, true] {
        let list = try await member.cluster.memberList(.init(linearizable: isLinearizable))
        #expect(list.header?.clusterID == 0xcdf8_1819_4e3a_8c32)
        #expect(list.members.map(\.id) == [0x8e9e_05c5_2164_694d])
        #expect(list.members.first?.name == "default")
        #expect(list.members.first?.peerURLs == ["http://localhost:2380"])
        #expect(list.members.first?.clientURLs == ["http://localhost:2379"])
        #expect(list.members.first?.isLearner == false)
      }
      _ = try await member.kv.put(.init("a", "1"))
      let status = try await member.maintenance.status(.init())
      #expect(status.leader == 0x8e9e_05c5_2164_694d)
      #expect(status.version == "3.6.0")
      #expect(status.raftTerm == status.header?.raftTerm)
      #expect(status.raftAppliedIndex <= status.raftIndex && status.raftAppliedIndex > 0)
      #expect(status.dbSize > 0 && status.dbSizeInUse <= status.dbSize)
      #expect(status.errors.isEmpty)
      #expect(!status.isLearner)
      #expect(try await member.maintenance.alarm(.init(action: .get)).alarms.isEmpty)
    }
  }

  @Test("HashKV is of the history, whatever else goes on")
  func hashKV() async throws {
    var hashes: [UInt32] = []
    for life in 0..<2 {
      try await withMember { member in
        for number in 0..<50 { _ = try await member.kv.put(.init("k-\(number % 7)", "\(number)")) }
        if life == 1 { _ = try await member.maintenance.defragment(.init()) }
        let hash = try await member.maintenance.hashKV(.init(revision: 40))
        #expect(hash.hashRevision == 40)
        #expect(hash.header?.revision == 51)
        hashes.append(hash.hash)
        await expectFailure(
          .outOfRange,
          "etcdserver: mvcc: required revision is a future revision"
        ) { _ = try await member.maintenance.hashKV(.init(revision: 52)) }
        #expect(try await member.maintenance.hash(.init()).hash != 0)
      }
    }
    #expect(hashes[0] == hashes[1])
  }

  @Test("snapshots, defragmentations, hashes and compactions under load")
  func maintenanceUnderLoad() async throws {
    try await withMember { member in
      let value = String(repeating: "v", count: 2000)
      try await withThrowingTaskGroup { tasks in
        for lane in 0..<4 {
          tasks.addTask {
            for number in 0..<150 {
              _ = try await member.kv.put(.init("lane-\(lane)-\(number % 20)", "\(number)\(value)"))
            }
          }
        }
        tasks.addTask {
          for round in 0..<4 {
            try await Self.checkSnapshot(of: member)
            _ = try await member.maintenance.defragment(.init())
            _ = try await member.maintenance.hashKV(.init())
            _ = try await member.maintenance.status(.init())
            let revision = try await member.kv.range(.init("x")).header?.revision ?? 0
            if revision > 2 && round > 0 {
              _ = try await member.kv.compact(
                .init(revision: revision - 1, physical: round == 2)
              )
            }
          }
        }
        try await tasks.waitForAll()
      }
      let all = try await member.kv.range(.all)
      #expect(all.count == 80)
      #expect(all.header?.revision == 601)
    }
  }

  /// Reads a snapshot: the sizes must fit, and its last message is a SHA-256.
  private static func checkSnapshot(of member: TestMember) async throws {
    var total: UInt64?
    var received: UInt64 = 0
    var lastBlob = 0
    for try await part in try await member.maintenance.snapshot(.init()) {
      lastBlob = part.blob.count
      received += UInt64(lastBlob)
      if total == nil { total = received + part.remainingBytes }
      #expect(part.remainingBytes <= total ?? 0)
    }
    #expect(lastBlob == 32)
    #expect(received == (total ?? 0) + 32)
    #expect(received > 4096)
  }

  @Test("a learner is added, updated and removed, and the member goes on alone")
  func learner() async throws {
    try await withMember { member in
      let added = try await member.cluster.memberAdd(
        .init(peerURLs: ["http://127.0.0.1:1"], isLearner: true)
      )
      #expect(added.members.count == 2)
      let id = try #require(added.member).id
      _ = try await member.kv.put(.init("a", "1"))
      await expectFailure(
        .failedPrecondition,
        "etcdserver: can only promote a learner member which is in sync with leader"
      ) {
        _ = try await member.cluster.memberPromote(.init(id: id))
      }
      await expectFailure(
        .failedPrecondition,
        "etcdserver: too many learner members in cluster"
      ) {
        _ = try await member.cluster.memberAdd(
          .init(peerURLs: ["http://127.0.0.1:2"], isLearner: true)
        )
      }
      await expectFailure(.invalidArgument, "etcdserver: given member URLs are invalid") {
        _ = try await member.cluster.memberAdd(.init(peerURLs: ["a:1"]))
      }
      _ = try await member.cluster.memberUpdate(.init(id: id, peerURLs: ["http://127.0.0.1:3"]))
      let list = try await member.cluster.memberList(.init(linearizable: true))
      #expect(list.members.first { $0.id == id }?.peerURLs == ["http://127.0.0.1:3"])
      let removed = try await member.cluster.memberRemove(.init(id: id))
      #expect(removed.members.count == 1)
      await expectFailure(.notFound, "etcdserver: member not found") {
        _ = try await member.cluster.memberRemove(.init(id: id))
      }
      _ = try await member.kv.put(.init("a", "2"))
    }
  }
}
