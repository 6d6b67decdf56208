import ArgumentParser
import Base
import Migration
import Terminal

struct DefragCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "defrag",
    abstract: "Defragments the storage of a member that does not run."
  )

  @Option(help: "The data directory of a member that does not run.")
  var dataDir: String

  @OptionGroup var output: OutputOptions

  func run() throws {
    let format = try output.format()
    let done = try OfflineDefragmentation(dataDirectory: dataDir)
    if format == .simple {
      print(
        "Finished defragmenting directory \(dataDir): \(ByteCount.text(done.bytesBefore)) became "
          + ByteCount.text(done.bytesAfter)
      )
      return
    }
    Output.print(
      [
        Figure("before", "Bytes before", "bytesBefore", done.bytesBefore),
        Figure("after", "Bytes after", "bytesAfter", done.bytesAfter),
      ],
      as: format
    )
  }
}

struct HashKVCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "hashkv",
    abstract: "Prints the KV history hash of a given file or data directory.",
    discussion: """
      Equal to what the server's HashKV answers for the same data (`etcdctl endpoint hashkv`). Prints \
      hash, hash revision and compact revision.
      """
  )

  @Argument(help: "A snapshot file of Martlet or etcd.")
  var filename: String?

  @Option(help: "The data directory of a member that does not run, instead of a file.")
  var dataDir: String?

  @Option(help: "Where the member has its log, when not in the data directory.")
  var walDir: String?

  @Option(help: "Maximum revision to hash (default: all revisions).")
  var rev: Int64 = 0

  @OptionGroup var output: OutputOptions

  func validate() throws {
    guard (filename == nil) != (dataDir == nil) else {
      throw BadArguments(description: "hashkv requires exactly one file or --data-dir")
    }
    guard rev >= 0 else { throw BadArguments(description: "--rev is not negative") }
  }

  func run() throws {
    let format = try output.format()
    let store = try SourceOptions.open(
      dataDir: dataDir,
      walDir: walDir,
      file: filename,
      beside: format
    )
    if store.unappliedCount > 0 {
      Output.note(
        "note: \(store.unappliedCount) requests in the log are not in the store yet, and not hashed"
      )
    }
    let found = try OfflineHash(of: store, revision: rev)
    Output.print(
      [
        Figure("hash", "Hash", "hash", found.hash),
        Figure("hash revision", "Hash revision", "hashRevision", found.hashRevision),
        Figure("compact revision", "Compact revision", "compactRevision", found.compactRevision),
      ],
      as: format
    )
  }
}

struct VersionCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "version",
    abstract: "Prints the version of martletutl."
  )

  @OptionGroup var output: OutputOptions

  func run() {
    print("martletutl version: \(Release.martlet)")
    print("API version: \(Release.api)")
  }
}

struct CompletionCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "completion",
    abstract: "Generates completion script for bash, zsh or fish."
  )

  @Argument(help: "bash, zsh or fish.")
  var shell: String?

  @OptionGroup var output: OutputOptions

  func run() throws {
    guard let shell else { throw CleanExit.helpRequest(self) }
    guard let shell = CompletionShell(rawValue: shell) else {
      throw BadArguments(description: "no such shell: \(shell)")
    }
    print(Martletutl.completionScript(for: shell))
  }
}
