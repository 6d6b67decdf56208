import Glibc
import MartletClient
import Proto

/// `watch`.
enum WatchCommand {
  static let flags = [
    Flag("interactive", short: "i", .bool, "", "read watches from the standard input, a line each"),
    Flag("prefix", .bool, "", "all keys that begin with the given one"),
    Flag("prev-kv", .bool, "", "print what was there before"),
    Flag("progress-notify", .bool, "", "print now and then how far the watch has come"),
    Flag("rev", .integer, "0", "begin with this revision"),
  ]

  static let all = [
    Command(
      path: ["watch"],
      usage: "[options] [key or prefix] [range_end] [--] [exec-command arg1 arg2 ...]",
      summary: "prints changes as they happen",
      flags: flags,
      formats: .withoutTable,
      takesFiles: true,
      run: run
    )
  ]

  /// One watch that was asked for.
  struct Request: Equatable {
    var range: [String]
    /// What is run for each event; empty nothing.
    var command: [String]
  }

  /// What the words mean. Throws etcdctl's reasons.
  static func request(
    _ words: [String],
    countBeforeDash: Int?,
    environment key: String?,
    rangeEnd: String?
  ) throws -> Request {
    let own = Array(words.prefix(countBeforeDash ?? words.count))
    let command = Array(words.dropFirst(own.count))
    if countBeforeDash != nil, command.isEmpty {
      throw Failure.badArguments("bad number of arguments (found separator --, but no commands)")
    }
    if let key, !key.isEmpty {
      guard own.isEmpty else {
        throw Failure.badArguments("bad number of arguments (found conflicting environment key)")
      }
      return Request(
        range: [key] + (rangeEnd.map { $0.isEmpty ? [] : [$0] } ?? []),
        command: command
      )
    }
    guard !own.isEmpty else { throw Failure.badArguments("bad number of arguments") }
    return Request(range: Array(own.prefix(2)), command: command)
  }

  private static func run(_ invocation: Invocation) async throws {
    let isInteractive = invocation.flags.bool("interactive")
    let request =
      isInteractive
      ? nil
      : try request(
        invocation.arguments,
        countBeforeDash: invocation.countBeforeDash,
        environment: variable("ETCDCTL_WATCH_KEY"),
        rangeEnd: variable("ETCDCTL_WATCH_RANGE_END")
      )
    try await invocation.withConnection { connection in
      if let request {
        let watch = try await start(request, invocation, connection)
        try await follow(watch, request, invocation.printer)
      } else {
        try await readLines(invocation, connection)
      }
    }
  }

  private static func variable(_ name: String) -> String? {
    getenv(name).map { RawText.text($0) }
  }

  /// Starts the watches of the lines, until the input ends.
  private static func readLines(_ invocation: Invocation, _ connection: Connection) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      defer { group.cancelAll() }
      let input = SharedInput()
      var watches: [Watch] = []
      while let text = try await input.next() {
        let words = TxnText.words(TxnText.trimmed(text))
        switch words.first {
        case "progress": for watch in watches { await watch.requestProgress() }
        case "watch" where words.count == 1 && variable("ETCDCTL_WATCH_KEY") == nil:
          Streams.warn("Invalid command \(text) (command type or key is not provided)")
        case "watch":
          let (request, inner) = try inner(Array(words.dropFirst()), invocation)
          let watch = try await start(request, inner, connection)
          watches.append(watch)
          group.addTask { try await follow(watch, request, invocation.printer) }
        case nil: Streams.warn("Invalid command: \(text) (watch and progress supported)")
        default: Streams.warn("Invalid command \(text) (only support watch)")
        }
      }
    }
    throw Failure(.invalidInput, "error reading watch request line: EOF")
  }

  /// What the words behind `watch` on a line ask for. What is wrong with them ends the command, as in
  /// etcdctl.
  private static func inner(
    _ words: [String],
    _ invocation: Invocation
  ) throws -> (Request, Invocation) {
    let parser = CommandLineParser(commands: [], globals: GlobalFlags.all)
    let parsed: CommandLineParser.Result
    do throws(CommandLineParser.Misuse) {
      parsed = try parser.parse(all[0], words)
    } catch {
      throw Failure.badArguments(error.message)
    }
    guard case .run(let command, let flags, let arguments, let count) = parsed else {
      throw Failure.badArguments("pflag: help requested")
    }
    let request = try request(
      arguments,
      countBeforeDash: count,
      environment: variable("ETCDCTL_WATCH_KEY"),
      rangeEnd: variable("ETCDCTL_WATCH_RANGE_END")
    )
    let inner = Invocation(
      command: command,
      flags: flags,
      arguments: arguments,
      countBeforeDash: count,
      format: invocation.format
    )
    return (request, inner)
  }

  /// The lines of the input, read where waiting hurts nobody.
  private final class SharedInput: Sendable {
    private nonisolated(unsafe) var lines = InputLines()

    func next() async throws -> String? {
      let result = await Blocking.run { Result { try self.lines.next() } }
      guard let line = try result.get(), line.isWhole else { return nil }
      return RawText.text(line.text)
    }
  }

  private static func start(
    _ request: Request,
    _ invocation: Invocation,
    _ connection: Connection
  ) async throws -> Watch {
    let flags = invocation.flags
    let options = WatchOptions(
      startRevision: flags.integer("rev"),
      includesPrevious: flags.bool("prev-kv"),
      reportsProgress: flags.bool("progress-notify")
    )
    let range = try range(request.range, isPrefix: flags.bool("prefix"))
    return try await connection.client.watch(range, options)
  }

  /// Shows what the watch tells. Throws `Failure` when the server ends it.
  private static func follow(
    _ watch: Watch,
    _ request: Request,
    _ printer: Printer
  ) async throws {
    do {
      for try await batch in watch.batches { try await show(batch, request.command, printer) }
    } catch let error as ClientError {
      throw canceled(error, printer)
    }
  }

  private static func range(_ words: [String], isPrefix: Bool) throws -> KeyRange {
    if isPrefix {
      guard words.count == 1 else {
        throw Failure.badArguments(
          "`range_end` and `--prefix` are mutually exclusive"
        )
      }
      return words[0].isEmpty ? .all : .prefix(RawText.bytes(words[0]))
    }
    guard words.count > 1 else { return .key(RawText.bytes(words[0])) }
    return .range(from: RawText.bytes(words[0]), to: RawText.bytes(words[1]))
  }

  private static func show(
    _ batch: WatchBatch,
    _ command: [String],
    _ printer: Printer
  ) async throws {
    if batch.events.isEmpty { printer.print("progress notify: \(batch.revision)") }
    printer.watch(.init(header: batch.header.message, events: batch.events.map(\.message)))
    guard !command.isEmpty else { return }
    for event in batch.events {
      func quoted(_ bytes: [UInt8]) -> String {
        RawText.text(GoText.quoted(bytes))
      }
      let end = try await ChildProcess.run(
        command,
        environment: [
          "ETCD_WATCH_REVISION=\(batch.header.revision)",
          "ETCD_WATCH_EVENT_TYPE=\"\(event.kind == .put ? "PUT" : "DELETE")\"",
          "ETCD_WATCH_KEY=\(quoted(event.key))",
          "ETCD_WATCH_VALUE=\(quoted(event.keyValue.value))",
        ]
      )
      if let failure = end.failure {
        let words = command.map { GoText.quoted($0) }.joined(separator: " ")
        Streams.warn("command [\(words)] error (\(failure))")
        throw Failure(.error, nil)
      }
    }
  }

  /// What is told of a watch that the server ended.
  private static func canceled(
    _ error: ClientError,
    _ printer: Printer
  ) -> Failure {
    guard error.code == .compacted || error.code == .watchCanceled else { return Failure(error) }
    Streams.warn("watch was canceled (\(error.message))")
    let header = error.header?.message ?? Etcdserverpb.ResponseHeader()
    printer.watch(
      .init(
        header: header,
        events: [],
        compactRevision: error.compactRevision ?? 0,
        isCanceled: true
      )
    )
    return Failure(.interrupted, "watch is canceled by the server")
  }
}
