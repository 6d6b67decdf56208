import ArgumentParser
import Migration
import Terminal

struct SnapshotCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "snapshot",
    abstract: "Manages snapshots.",
    subcommands: [Status.self, Restore.self]
  )

  struct Status: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Gets backend snapshot status of a given file.",
      usage: "martletutl snapshot status <filename> [--write-out <write-out>]",
      discussion: """
        Prints hash, revision, total keys and total size of a snapshot, of Martlet or of etcd, after \
        checking its SHA-256 and every page.
        """
    )

    @OptionGroup var file: FileArgument
    @OptionGroup var output: OutputOptions

    func validate() throws { try file.check(for: "snapshot status") }

    func run() throws {
      let format = try output.format()
      let status = try SnapshotStatus(
        of: SnapshotSource(path: file.path),
        Progress.report(beside: format)
      )
      let hash = String(status.hash, radix: 16)
      let size = ByteCount.text(status.sizeBytes)
      let figures = [
        Figure("hash", "Hash", "hash", .number(Int64(status.hash)), shown: hash),
        Figure("revision", "Revision", "revision", status.revision),
        Figure("total keys", "Keys", "totalKey", status.recordCount),
        Figure(
          "total size",
          "Size",
          "totalSize",
          .number(Int64(status.sizeBytes)),
          shown: size
        ),
      ]
      Output.print(figures, as: format)
    }
  }

  struct Restore: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Restores a snapshot of Martlet to the data directory of a member.",
      usage: "martletutl snapshot restore <filename> [<options>]",
      discussion: """
        Each founding member of the new cluster restores the same file, with its own --name. The \
        directory appears when it is complete. The store keeps its newest revision exactly, unless \
        --bump-revision raises it, for which every member must be given the same; it is never \
        lowered. A snapshot of etcd goes through `migrate import`.
        """
    )

    @OptionGroup var file: FileArgument
    @OptionGroup var member: MemberOptions
    @OptionGroup var output: OutputOptions

    func validate() throws { try file.check(for: "snapshot restore") }

    func run() throws {
      let format = try output.format()
      let source = try SnapshotSource(path: file.path)
      let progress = Progress.report(beside: format)
      let summary = try SnapshotRestore.run(source, member.plan, progress)
      member.report(summary, "restored", file.path, format)
    }
  }
}
