import Base
import MartletServer
import Proto
import RPC
import Testing

/// Changes of the membership of a cluster in this process.
@Suite(.serialized, .timeLimit(.minutes(10))) struct MembershipChangeTests {
  @Test("a follower takes changes, and asks the leader whether a learner is ready")
  func learnerAtAFollower() async throws {
    try await withCluster(3) { cluster in
      let leader = try await cluster.leader()
      let follower = try cluster.node((leader + 1) % 3).cluster
      let added = try await follower.memberAdd(
        .init(peerURLs: ["http://127.0.0.1:1"], isLearner: true)
      )
      #expect(added.members.count == 4)
      let id = try #require(added.member).id
      for index in 0..<3 {
        await expectFailure(
          .failedPrecondition,
          "etcdserver: can only promote a learner member which is in sync with leader"
        ) {
          _ = try await cluster.node(index).cluster.memberPromote(.init(id: id))
        }
        await expectFailure(.notFound, "etcdserver: member not found") {
          _ = try await cluster.node(index).cluster.memberPromote(.init(id: 0xabcd))
        }
      }
      _ = try await follower.memberUpdate(.init(id: id, peerURLs: ["http://127.0.0.1:2"]))
      for index in 0..<3 {
        let list = try await cluster.node(index).cluster.memberList(.init(linearizable: true))
        let learner = list.members.first { $0.id == id }
        #expect(learner?.peerURLs == ["http://127.0.0.1:2"])
        #expect(learner?.isLearner == true)
      }
      _ = try await follower.memberRemove(.init(id: id))
      try await cluster.put("a", "b")
    }
  }

  @Test("a member that was just connected is no reason to add a voter")
  func unhealthy() async throws {
    try await withCluster(3) { cluster in
      let leader = try await cluster.leader()
      let other = (leader + 1) % 3
      await cluster.stop(other)
      // The others need a moment to notice.
      _ = try await eventually(within: 30, "a refusal") {
        do {
          _ = try await cluster.node(leader).cluster.memberAdd(.init(peerURLs: ["http://a:1"]))
          return nil as Bool?
        } catch let error as RPCError {
          return error.status.message == "etcdserver: unhealthy cluster" ? true : nil
        }
      }
    }
  }

  @Test("a removed member stops, says why, and does not start again")
  func removed() async throws {
    try await withCluster(3) { cluster in
      let leader = try await cluster.leader()
      let index = (leader + 1) % 3
      let node = try cluster.node(index)
      let status = try await node.maintenance.status(.init())
      let id = try #require(status.header).memberID
      // Until the members count as healthy it is refused.
      _ = try await eventually(within: 30, "the removal") {
        try? await cluster.node(leader).cluster.memberRemove(.init(id: id))
      }
      let reason = await node.member.failure()
      #expect(reason?.contains("permanently removed from the cluster") == true)
      #expect(node.member.isRemoved)
      await cluster.stop(index)
      do {
        try await cluster.start(index)
        Issue.record("a removed member has started")
      } catch let error as StartError {
        guard case .removed = error else { throw error }
      }
      try await cluster.put("after", "1")
    }
  }

  @Test("a founder without its data does not begin anew")
  func founderTwice() async throws {
    try await withCluster(3) { cluster in
      let leader = try await cluster.leader()
      let index = (leader + 1) % 3
      await cluster.stop(index)
      let folder = try TemporaryFolder()
      var configuration = cluster.configuration(index)
      configuration.dataDirectory = "\(folder.path)/empty"
      for state in [InitialClusterState.new, .existing] {
        configuration.initialClusterState = state
        await #expect(throws: StartError.self) {
          _ = try await EmbeddedMember.start(configuration, logger: TestMember.silentLogger)
        }
      }
    }
  }
}
