import Base
import Membership
import Raft

/// The member that a store is restored for: what the flags say.
package struct MemberPlan: Sendable {
  package var name = "default"
  /// As `--initial-cluster` has it.
  package var initialCluster = "default=http://localhost:2380"
  package var initialClusterToken = "etcd-cluster"
  package var advertisePeerURLs = "http://localhost:2380"
  package var dataDirectory: String
  /// Where the log goes when not into the data directory.
  package var logDirectory: String?
  /// By how much the newest revision is raised, so that clients who knew a later one than the file
  /// never see one twice.
  package var bumpsRevisionBy: UInt64 = 0
  /// Whether everything up to the newest revision then counts as compacted.
  package var marksCompacted = false
  /// Whether the snapshot may lack its SHA-256, or have a wrong one.
  package var skipsHashCheck = false

  package init(dataDirectory: String) {
    self.dataDirectory = dataDirectory
  }

  /// The members of the new cluster, and which of them this one is. Throws `flags`.
  func founders() throws(MigrationError) -> (table: MemberTable, own: MemberID) {
    let cluster: InitialCluster
    do throws(InitialClusterError) {
      cluster = try InitialCluster(initialCluster)
    } catch {
      throw .flags("--initial-cluster: \(error)")
    }
    guard let own = cluster[name] else {
      throw .flags("--initial-cluster does not name this member, \(name)")
    }
    let urls: [ServerURL]
    do throws(ServerURLError) {
      urls = try ServerURL.list(advertisePeerURLs)
    } catch {
      throw .flags("--initial-advertise-peer-urls: \(error)")
    }
    guard urls == own.peerURLs else {
      let list = own.peerURLs.map(\.description).joined(separator: ",")
      throw .flags(
        "--initial-cluster has \(list) for \(name), and --initial-advertise-peer-urls "
          + urls.map(\.description).joined(separator: ",")
      )
    }
    do throws(MembershipError) {
      let table = try MemberTable(founding: cluster, token: initialClusterToken)
      return (table, MemberID.founding(peerURLs: own.peerURLs.map(\.description), token: token))
    } catch {
      throw .flags("--initial-cluster: \(error)")
    }
  }

  private var token: String { initialClusterToken }

  /// The members that the snapshot names, and which of them this one is: the one called `name`. Throws
  /// `flags`.
  func kept(_ members: [Member]) throws(MigrationError) -> (table: MemberTable, own: MemberID) {
    let table: MemberTable
    do throws(MembershipError) {
      table = try MemberTable(of: members)
    } catch {
      throw .flags("--keep-members: the members in the snapshot make no cluster: \(error)")
    }
    guard let own = table.member(named: name) else {
      // One that was added and has not started yet has none.
      let names = members.map(\.name).filter { !$0.isEmpty }.sorted().joined(separator: ", ")
      throw .flags("--keep-members: the snapshot knows no member \(name), but \(names)")
    }
    guard !table.voters.isEmpty else {
      throw .flags("--keep-members: the snapshot knows no member that votes")
    }
    return (table, own.id)
  }

  /// Throws `flags` for a raised revision without a compaction: what lies between the old and the new
  /// revision never was, and nobody may ask for it.
  func check() throws(MigrationError) {
    guard (bumpsRevisionBy > 0) == marksCompacted else {
      throw .flags("--mark-compacted goes with --bump-revision above 0, and only with it")
    }
    guard bumpsRevisionBy <= Self.bumpMax else {
      throw .flags("--bump-revision is at most \(Self.bumpMax)")
    }
  }

  private static let bumpMax: UInt64 = 1 << 60
}

extension MemberTable {
  /// The table of members that are a cluster already.
  init(of members: [Member]) throws(MembershipError) {
    self.init(clusterID: .founded(by: members.map(\.id)))
    for member in members { try add(member) }
  }

  /// The configuration in which all members start.
  var confState: ConfState {
    ConfState(voters: voters.map(\.id), learners: learners.map(\.id))
  }
}
