import ArgumentParser
import FoundationEssentials
import Migration
import Proto

struct DatabaseCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "db",
    abstract: "Looks into a store: of a data directory, a snapshot of Martlet, or one of etcd.",
    subcommands: [Stats.self, Keys.self, Metadata.self]
  )

  struct Stats: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Prints revisions, sizes, and how much there is of everything."
    )

    @OptionGroup var source: SourceOptions
    @OptionGroup var output: OutputOptions

    func run() throws {
      let format = try output.format()
      let found = try source.open(beside: format).figures()
      var figures = [
        Figure("revision", "Revision", "revision", found.revision),
        Figure("compacted", "Compacted", "compacted", found.compacted),
        Figure(
          "compaction finished",
          "Compaction finished",
          "compactionFinished",
          found.compactionFinished
        ),
        Figure("stored", "Stored revisions", "storedRevisions", found.revisionCount),
        Figure("tombstones", "Tombstones", "tombstones", found.tombstoneCount),
        Figure("bytes", "Pair bytes", "pairBytes", found.pairBytes),
        Figure("longest", "Longest pair bytes", "longestPairBytes", found.longestPairBytes),
        Figure("leases", "Leases", "leases", found.leaseCount),
        Figure("users", "Users", "users", found.userCount),
        Figure("roles", "Roles", "roles", found.roleCount),
        Figure("auth", "Auth enabled", "authEnabled", .flag(found.isAuthEnabled)),
        Figure("members", "Members", "members", found.memberCount),
        Figure("file", "File bytes", "fileBytes", found.fileBytes),
        Figure("used", "Used bytes", "usedBytes", found.usedBytes),
        Figure("not applied", "Requests not applied", "unapplied", found.unappliedCount),
      ]
      if let index = found.appliedIndex, let term = found.appliedTerm {
        figures.append(Figure("index", "Applied index", "appliedIndex", index))
        figures.append(Figure("term", "Applied term", "appliedTerm", term))
      }
      Output.print(figures, as: format == .simple ? .fields : format)
    }
  }

  struct Keys: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Prints keys and values at a revision.",
      discussion: "As `etcdctl get`: a line for the key, one for the value. -w json: base64."
    )

    @OptionGroup var source: SourceOptions

    @Option(help: "Only keys that begin so.")
    var prefix = ""

    @Option(help: "The revision to read at (default: the newest).")
    var rev: Int64 = 0

    @Option(help: "At most so many keys (default: all).")
    var limit: Int64 = 0

    @Flag(help: "Leave the values out.")
    var keysOnly = false

    @OptionGroup var output: OutputOptions

    func validate() throws {
      guard rev >= 0, limit >= 0 else {
        throw BadArguments(description: "--rev and --limit are not negative")
      }
    }

    func run() throws {
      let format = try output.format()
      guard format != .table else {
        throw UnsupportedFormat(description: "table not supported as output format")
      }
      try source.open(beside: format).forEachKey(
        prefix: Array(prefix.utf8),
        revision: rev,
        limit: limit,
        keysOnly: keysOnly
      ) { pair in
        show(pair, format)
      }
    }

    private func show(_ pair: Mvccpb.KeyValue, _ format: OutputFormat) {
      if format == .simple {
        print(String(decoding: pair.key, as: UTF8.self))
        if !keysOnly { print(String(decoding: pair.value, as: UTF8.self)) }
        return
      }
      func text(_ bytes: [UInt8]) -> Figure.Value {
        .text(
          format == .json
            ? Data(bytes).base64EncodedString() : String(decoding: bytes, as: UTF8.self)
        )
      }
      var figures = [
        Figure("key", "Key", "key", text(pair.key)),
        Figure("create", "CreateRevision", "create_revision", pair.createRevision),
        Figure("mod", "ModRevision", "mod_revision", pair.modRevision),
        Figure("version", "Version", "version", pair.version),
      ]
      if !keysOnly { figures.append(Figure("value", "Value", "value", text(pair.value))) }
      if pair.lease != 0 { figures.append(Figure("lease", "Lease", "lease", pair.lease)) }
      Output.print(figures, as: format)
    }
  }

  struct Metadata: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Lists the records beside the keys: name, size in bytes, what it says."
    )

    @OptionGroup var source: SourceOptions
    @OptionGroup var output: OutputOptions

    func run() throws {
      let format = try output.format()
      guard format != .table else {
        throw UnsupportedFormat(description: "table not supported as output format")
      }
      try source.open(beside: format).forEachRecord { name, size, text in
        if format == .simple {
          print("\(name)\t\(size)\t\(text)")
        } else {
          let figures = [
            Figure("name", "Name", "name", .text(name)), Figure("size", "Size", "size", size),
            Figure("text", "Text", "text", .text(text)),
          ]
          Output.print(figures, as: format)
        }
      }
    }
  }
}
