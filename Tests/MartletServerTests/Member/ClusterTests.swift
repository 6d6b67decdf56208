import Base
import Logging
import MartletServer
import Proto
import RPC
import Testing

/// Members of one cluster in this process, over real sockets.
@Suite(.timeLimit(.minutes(10))) struct ClusterTests {
  @Test func threeMembersReplicate() async throws {
    try await withCluster(3) { cluster in
      for number in 0..<20 { try await cluster.put("k\(number)", "v\(number)") }
      for index in 0..<3 {
        for number in 0..<20 { try await cluster.expect("k\(number)", "v\(number)", at: index) }
      }
    }
  }

  @Test func twoOfThreeGoOnAndTheThirdCatchesUp() async throws {
    try await withCluster(3) { cluster in
      try await cluster.put("before", "1")
      let first = try await cluster.leader()
      await cluster.stop(first)
      try await cluster.put("without", "2")
      try await cluster.start(first)
      try await cluster.expect("without", "2", at: first)
      try await cluster.put("after", "3")
      for index in 0..<3 { try await cluster.expect("after", "3", at: index) }
    }
  }
}
