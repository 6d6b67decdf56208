import ArgumentParser
import Migration

/// The flags of a member that is made from a snapshot.
struct MemberOptions: ParsableArguments {
  @Option(help: "Path to the output data directory (default: NAME.etcd, as the server's).")
  var dataDir = ""

  @Option(help: "Path for the log, instead of within the data directory; it gets a link there.")
  var walDir = ""

  @Option(help: "Human-readable name for this member.")
  var name = "default"

  @Option(help: "Initial cluster configuration for restore bootstrap.")
  var initialCluster = "default=http://localhost:2380"

  @Option(help: "Initial cluster token for the cluster during restore bootstrap.")
  var initialClusterToken = "etcd-cluster"

  @Option(help: "List of this member's peer URLs to advertise to the rest of the cluster.")
  var initialAdvertisePeerUrls = "http://localhost:2380"

  @Option(help: "Taken as etcdutl has it; without effect, the map grows by itself.")
  var initialMemoryMapSize: UInt64 = 0

  @Flag(help: "Ignore snapshot integrity hash value (required if copied from data directory).")
  var skipHashCheck = false

  @Option(help: "How much to increase the latest revision after restore.")
  var bumpRevision: UInt64 = 0

  @Flag(
    help: """
      Mark the latest revision after restore as the point of scheduled compaction (required if \
      --bump-revision > 0, disallowed otherwise).
      """
  )
  var markCompacted = false

  func validate() throws {
    guard (bumpRevision > 0) == markCompacted else {
      throw BadArguments(description: "--mark-compacted required if --bump-revision > 0")
    }
  }

  var plan: MemberPlan {
    var plan = MemberPlan(dataDirectory: dataDir.isEmpty ? "\(name).etcd" : dataDir)
    plan.logDirectory = walDir.isEmpty ? nil : walDir
    plan.name = name
    plan.initialCluster = initialCluster
    plan.initialClusterToken = initialClusterToken
    plan.advertisePeerURLs = initialAdvertisePeerUrls
    plan.skipsHashCheck = skipHashCheck
    plan.bumpsRevisionBy = bumpRevision
    plan.marksCompacted = markCompacted
    return plan
  }

  /// Prints what came of it.
  func report(_ summary: RestoreSummary, _ verb: String, _ file: String, _ format: OutputFormat) {
    if format == .simple {
      let compacted = summary.compacted >= 0 ? ", compacted \(summary.compacted)" : ""
      let stored = summary.revisionCount.map { ", \($0) stored revisions" } ?? ""
      print(
        "\(verb) \(file) to \(plan.dataDirectory): revision \(summary.revision)\(compacted)"
          + "\(stored), \(summary.leaseCount) leases, \(summary.userCount) users, "
          + "\(summary.roleCount) roles, authentication \(summary.isAuthEnabled ? "on" : "off")"
      )
      print("member \(summary.memberID) (\(name)) of cluster \(summary.clusterID)")
    } else {
      var figures = [
        Figure("revision", "Revision", "revision", summary.revision),
        Figure("compacted", "Compacted", "compacted", summary.compacted),
      ]
      if let count = summary.revisionCount {
        figures.append(Figure("stored", "Stored revisions", "storedRevisions", count))
      }
      figures += [
        Figure("leases", "Leases", "leases", summary.leaseCount),
        Figure("users", "Users", "users", summary.userCount),
        Figure("roles", "Roles", "roles", summary.roleCount),
        Figure("auth", "Auth enabled", "authEnabled", .flag(summary.isAuthEnabled)),
        Figure("member", "Member", "member", .text("\(summary.memberID)")),
        Figure("cluster", "Cluster", "cluster", .text("\(summary.clusterID)")),
      ]
      Output.print(figures, as: format)
    }
    if summary.alarmCount > 0 {
      Output.note("note: \(summary.alarmCount) alarms of the old cluster are not taken over")
    }
    if bumpRevision == 0 {
      Output.note(
        "note: clients that have seen revisions above \(summary.revision) would see other changes "
          + "under them; --bump-revision with --mark-compacted keeps them from that"
      )
    }
  }
}
