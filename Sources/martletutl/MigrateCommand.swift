import ArgumentParser
import Migration
import Terminal

struct MigrateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "migrate",
    abstract: "Takes a store from etcd to Martlet and back.",
    subcommands: [Import.self, Export.self]
  )

  struct Import: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Makes a data directory of Martlet from a snapshot of etcd 3.4 to 3.6.",
      discussion: """
        Taken over are all keys with their history, leases, users, roles and whether authentication is \
        on. Each founding member of the new cluster imports the same file, with its own --name.
        """
    )

    @Option(help: "The file that `etcdctl snapshot save` wrote.")
    var snapshot: String

    @Flag(
      help: """
        Take the members from the snapshot, with their IDs, instead of --initial-cluster; --name says \
        which of them this one is.
        """
    )
    var keepMembers = false

    @OptionGroup var member: MemberOptions
    @OptionGroup var output: OutputOptions

    func run() throws {
      let format = try output.format()
      let source = try SnapshotSource(path: snapshot)
      let summary = try EtcdImport.run(
        source,
        member.plan,
        keepsMembers: keepMembers,
        Progress.report(beside: format)
      )
      member.report(summary, "imported", snapshot, format)
    }
  }

  struct Export: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Writes a snapshot of etcd that `etcdctl snapshot restore` takes.",
      discussion: """
        From the data directory of a member that does not run, or from a snapshot of Martlet. A data \
        directory whose log holds requests that are not in its store yet is refused.
        """
    )

    @OptionGroup var source: SourceOptions

    @Option(help: "The file to write; it must not be there.")
    var output: String

    @OptionGroup var format: OutputOptions

    func run() throws {
      let format = try format.format()
      let store = try source.open(beside: format)
      let progress = Progress.report(beside: format)
      let summary = try EtcdExport.run(store, to: output, progress)
      if format == .simple {
        print(
          "exported to \(output): revision \(summary.revision), \(summary.revisionCount) stored "
            + "revisions, \(summary.leaseCount) leases, \(summary.userCount) users, "
            + "\(summary.roleCount) roles, \(ByteCount.text(summary.sizeBytes))"
        )
        return
      }
      let figures = [
        Figure("revision", "Revision", "revision", summary.revision),
        Figure("stored", "Stored revisions", "storedRevisions", summary.revisionCount),
        Figure("leases", "Leases", "leases", summary.leaseCount),
        Figure("users", "Users", "users", summary.userCount),
        Figure("roles", "Roles", "roles", summary.roleCount),
        Figure("size", "Size", "size", summary.sizeBytes),
      ]
      Output.print(figures, as: format)
    }
  }
}

/// Where a store is from that is only read.
struct SourceOptions: ParsableArguments {
  @Option(help: "The data directory of a member that does not run.")
  var dataDir: String?

  @Option(help: "Where the member has its log, when not in the data directory.")
  var walDir: String?

  @Option(help: "A snapshot file, or a database file copied from a data directory.")
  var snapshot: String?

  func validate() throws {
    guard (dataDir == nil) != (snapshot == nil) else {
      throw BadArguments(description: "one of --data-dir and --snapshot is needed")
    }
  }

  /// Opens it; says so when a data directory's log holds more than its store.
  func open(beside format: OutputFormat) throws -> OfflineStore {
    try Self.open(dataDir: dataDir, walDir: walDir, file: snapshot, beside: format)
  }

  static func open(
    dataDir: String?,
    walDir: String?,
    file: String?,
    beside format: OutputFormat
  ) throws -> OfflineStore {
    let origin: OfflineStore.Origin =
      if let file {
        .file(try SnapshotSource(path: file))
      } else {
        .dataDirectory(dataDir ?? "", logDirectory: walDir)
      }
    let store = try OfflineStore(origin, Progress.report(beside: format))
    Interruption.end()
    return store
  }
}
