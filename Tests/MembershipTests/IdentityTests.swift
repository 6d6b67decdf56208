import Base
import Membership
import Testing

/// What etcd 3.4.23 answered when started with these flags.
private struct Golden: Sendable {
  let initialCluster: String
  let token: String
  let members: [String: UInt64]
  let cluster: UInt64
}

private let goldens = [
  Golden(
    initialCluster: "default=http://localhost:2380",
    token: "etcd-cluster",
    members: ["default": 0x8e9e_05c5_2164_694d],
    cluster: 0xcdf8_1819_4e3a_8c32
  ),
  Golden(
    initialCluster: "default=http://127.0.0.1:23810",
    token: "etcd-cluster",
    members: ["default": 0xaa25_f762_79e9_0820],
    cluster: 0xcc09_0f84_0297_5b91
  ),
  Golden(
    initialCluster: "default=http://127.0.0.1:23810",
    token: "",
    members: ["default": 0x2fca_84df_9c7d_aec3],
    cluster: 0x9e8c_28b4_d344_5db5
  ),
  Golden(
    initialCluster: "default=http://127.0.0.1:23810",
    token: "my-token",
    members: ["default": 0x1978_137c_4ba5_6981],
    cluster: 0xe538_f5e1_2eff_59da
  ),
  Golden(
    initialCluster: "infra0=http://127.0.0.1:23810",
    token: "etcd-cluster",
    members: ["infra0": 0xaa25_f762_79e9_0820],
    cluster: 0xcc09_0f84_0297_5b91
  ),
  Golden(
    initialCluster: "m=http://127.0.0.1:23810,m=http://127.0.0.1:23800",
    token: "t2",
    members: ["m": 0xb573_191c_abf4_8d73],
    cluster: 0x1231_7956_c667_a7c0
  ),
  Golden(
    initialCluster:
      "a=http://127.0.0.1:23810,b=http://127.0.0.1:23820,c=http://127.0.0.1:23830",
    token: "tkn",
    members: [
      "a": 0xdf28_2e80_21ff_c887, "b": 0xed31_69ea_28e2_38fe, "c": 0x2d32_68e2_e4fb_4ee9,
    ],
    cluster: 0x90a5_1d4c_6435_80a0
  ),
]

@Suite("Identity, against etcd")
struct IdentityTests {
  @Test("founding members and their cluster", arguments: goldens.indices)
  func founding(index: Int) throws {
    let golden = goldens[index]
    let cluster = try InitialCluster(golden.initialCluster)
    let table = try MemberTable(founding: cluster, token: golden.token)
    #expect(table.clusterID == ClusterID(golden.cluster))
    #expect(table.members.count == golden.members.count)
    for (name, id) in golden.members {
      #expect(table.member(named: name)?.id == MemberID(id), "\(name)")
    }
    #expect(table.members.map(\.id) == table.members.map(\.id).sorted())
  }

  @Test("a member added at run time: etcd answered so at that second, with any token")
  func added() {
    let urls = ["http://127.0.0.1:23821", "http://127.0.0.1:23820"]
    let id = MemberID.added(peerURLs: urls, unixTimeSeconds: 1_795_462_161)
    #expect(id == MemberID(0xb34c_932b_2010_5c45))
    #expect(id != MemberID.added(peerURLs: urls, unixTimeSeconds: 1_795_462_162))
  }

  @Test("the order of URLs and members does not count")
  func order() {
    let urls = ["http://b:1", "http://a:1"]
    #expect(
      MemberID.founding(peerURLs: urls, token: "t")
        == MemberID.founding(peerURLs: urls.reversed(), token: "t")
    )
    let ids = [MemberID(9), MemberID(1), MemberID(5)]
    #expect(ClusterID.founded(by: ids) == ClusterID.founded(by: ids.reversed()))
  }
}
