import MartletServer
import Proto
import RPC
import Storage
import Synchronization
import Testing

/// Members of one cluster whose data differs (P3, P4).
@Suite("A member that differs", .serialized, .timeLimit(.minutes(10))) struct CorruptionTests {
  /// Whether members that start from now on check their data before they serve.
  private final class Gate: Sendable {
    let isOn = Atomic<Bool>(false)
  }

  /// As if a member that does not run had applied something else beside the store.
  private static func falsify(_ cluster: TestCluster, _ index: Int) throws {
    let folder = "\(cluster.folder.path)/\(TestCluster.names[index])"
    let store = try LMDBStorage(path: "\(folder)/member/db/store.mdb")
    defer { store.close() }
    let other: [UInt8] = [1, 2, 3, 4]
    #expect(try store.metadata("replica.hash") != other)
    try store.commit(RevisionBatch(metadata: [("replica.hash", other)]))
  }

  @Test("it does not start with InitialCorruptCheck; without, it gets the alarm and serves no more")
  func corrupt() async throws {
    let (log, gate) = (LogLines(), Gate())
    try await withCluster(3, logger: log.logger, peerURL: nil) { _, configuration in
      if gate.isOn.load(ordering: .relaxed) {
        configuration.featureGates = ["InitialCorruptCheck=true"]
      }
    } _: { cluster in
      try await cluster.put("before", "1")
      let bad = (try await cluster.leader() + 1) % 3
      let id = try await cluster.node(bad).maintenance.status(.init()).header?.memberID ?? 0
      await cluster.stop(bad)
      // A sound member starts with the gate.
      gate.isOn.store(true, ordering: .relaxed)
      try await cluster.start(bad)
      #expect(!log.containing("this member's data is as another's").isEmpty)
      await cluster.stop(bad)
      try Self.falsify(cluster, bad)
      do {
        try await cluster.start(bad)
        Issue.record("the member has started")
      } catch let error as StartError {
        #expect("\(error)".contains("InitialCorruptCheck: this member's data differs"))
        #expect("\(error)".contains("at index "))
      }
      gate.isOn.store(false, ordering: .relaxed)
      // It may have the alarm already, from the leader's look at it.
      try await cluster.start(bad)
      let leader = try cluster.node(try await cluster.leader())
      let alarms = try await eventually(within: 60, "the alarm") {
        let all = try await leader.maintenance.alarm(.init(action: .get)).alarms
        return all.isEmpty ? nil : all
      }
      #expect(alarms.map(\.memberID) == [id])
      #expect(alarms.map(\.alarm) == [.corrupt])
      // Who found it says so, and whom it is about.
      for text in ["a member's data differs", "this member's data differs from the others'"] {
        let line = try #require(log.containing(text).first)
        #expect(line.contains(" index=") && line.contains(" hashes="))
        #expect(line.contains(" member=\(String(id, radix: 16))"))
      }
      let node = try cluster.node(bad)
      _ = try await eventually(within: 60, "a refusal") {
        do {
          var request = Etcdserverpb.RangeRequest("before")
          request.serializable = true
          _ = try await node.kv.range(request)
          return nil as Bool?
        } catch let error as RPCError {
          return error.code == .dataLoss ? true : nil
        }
      }
      await expectFailure(.dataLoss, "etcdserver: corrupt cluster") {
        _ = try await node.kv.put(.init("a", "b"))
      }
    }
  }
}
