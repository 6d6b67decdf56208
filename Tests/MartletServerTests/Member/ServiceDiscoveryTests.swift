import Discovery
import MartletServer
import NIOCore
import NIOPosix
import Proto
import RPC
import Synchronization
import Testing

@Suite("Discovery by DNS", .timeLimit(.minutes(10))) struct ServiceDiscoveryTests {
  private func withNameServer(
    _ records: [String: [(host: String, port: UInt16)]],
    _ body: (_ address: String, NameServer) async throws -> Void
  ) async throws {
    let server = NameServer(records)
    let channel = try await DatagramBootstrap(group: TestMember.group)
      .channelInitializer { channel in
        channel.pipeline.addHandler(server)
      }
      .bind(host: "127.0.0.1", port: 0).get()
    let port = try #require(channel.localAddress?.port)
    do {
      try await body("127.0.0.1:\(port)", server)
    } catch {
      try await channel.close()
      throw error
    }
    try await channel.close()
  }

  @Test("a member founds the cluster that the records name")
  func founds() async throws {
    let records = ["_etcd-server-blue._tcp.example.test": [(host: "127.0.0.1", port: UInt16(2380))]]
    try await withNameServer(records) { address, server in
      try await withMember { configuration in
        configuration.discoverySRV = "example.test"
        configuration.discoverySRVName = "blue"
        configuration.discoveryResolver = address
        configuration.initialCluster = "other=http://127.0.0.1:1"
      } _: { member in
        let list = try await member.cluster.memberList(.init(linearizable: true))
        #expect(list.members.map(\.name) == ["default"])
        #expect(list.members.first?.peerURLs == ["http://127.0.0.1:2380"])
      }
      #expect(
        server.asked.withLock { $0 } == [
          "_etcd-server-ssl-blue._tcp.example.test", "_etcd-server-blue._tcp.example.test",
        ]
      )
    }
  }

  @Test("records that do not name the member, and none at all, are said")
  func refused() async throws {
    let records = ["_etcd-server._tcp.other.test": [(host: "192.0.2.1", port: UInt16(2380))]]
    try await withNameServer(records) { address, _ in
      for (domain, text) in [("other.test", "do not name this member"), ("no.test", "no SRV")] {
        let folder = try TemporaryFolder()
        do {
          let member = try await TestMember.start(in: folder) { configuration in
            configuration.discoverySRV = domain
            configuration.discoveryResolver = address
          }
          await member.stop()
          Issue.record("\(domain): the member has started")
        } catch let error as StartError {
          #expect("\(error)".contains(text), "\(error)")
        }
      }
    }
  }

  @Test("answers cut anywhere, or with a byte changed, are refused or read, and never crash")
  func damaged() throws {
    let question = try ServiceQuestion(name: "_etcd-server._tcp.example.test", number: 7)
    var answer: [UInt8] = [0, 7, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]
    // The question, without the record behind it.
    answer += question.datagram[12...].dropLast(11)
    answer += [0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60, 0, 10, 0, 1, 0, 2, 9, 76, 1, 97, 0xc0, 0x1e]
    let records = try #require(try question.records(in: answer))
    #expect(records.count == 1)
    #expect(records.first?.port == 2380)
    #expect(records.first?.target.hasPrefix("a.") == true)
    for length in 0..<answer.count {
      #expect(throws: ServiceLookupError.self, "cut at \(length)") {
        // Without its first part it is nobody's answer.
        if try question.records(in: Array(answer[..<length])) == nil {
          throw ServiceLookupError.malformed
        }
      }
    }
    for index in answer.indices {
      for value in [0, 0x3f, 0xc0, 0xff] as [UInt8] {
        var changed = answer
        changed[index] = value
        _ = try? question.records(in: changed)
      }
    }
  }
}
