import Base
import Peer
import Testing

@Suite struct ConfigurationTests {
  /// Raft puts no more than 1 MiB of entries into a message unless one entry is larger, so a batch
  /// must be able to hold that and a queue many of them.
  @Test func boundsFitRaft() {
    let configuration = PeerConfiguration(
      clusterID: ClusterID(1),
      memberID: MemberID(2),
      serverVersion: "1"
    )
    #expect(configuration.batchBytesMax >= 1 << 20)
    #expect(configuration.queuedBytesMax >= 16 * configuration.batchBytesMax)
    #expect(configuration.messageBytesMax > configuration.batchBytesMax)
  }
}
