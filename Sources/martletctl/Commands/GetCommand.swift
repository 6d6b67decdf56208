import Proto

/// `get`.
enum GetCommand {
  static let all = [
    Command(
      path: ["get"],
      usage: "[options] <key> [range_end]",
      summary: "prints a key, or the keys of a range",
      flags: flags,
      formats: .withoutTable,
      run: run
    )
  ]

  static let flags = [
    Flag(
      "consistency",
      .string,
      "l",
      "l: what all members agree on; s: what the asked one has",
      values: .words(["l", "s"])
    ),
    Flag("count-only", .bool, "", "print only how many keys there are (fields and json)"),
    Flag("from-key", .bool, "", "all keys from the given one on"),
    Flag("keys-only", .bool, "", "leave the values out"),
    Flag("limit", .integer, "0", "how many keys at most; 0 is all"),
    Flag("max-create-rev", .integer, "0", "only keys that came to be at this revision or before"),
    Flag("max-mod-rev", .integer, "0", "only keys last changed at this revision or before"),
    Flag("min-create-rev", .integer, "0", "only keys that came to be at this revision or later"),
    Flag("min-mod-rev", .integer, "0", "only keys last changed at this revision or later"),
    Flag(
      "order",
      "ASCEND or DESCEND; ASCEND when it is not given",
      values: .words(["ASCEND", "DESCEND"])
    ),
    Flag("prefix", .bool, "", "all keys that begin with the given one"),
    Flag("print-value-only", .bool, "", "the simple format without keys"),
    Flag("rev", .integer, "0", "read as it was at this revision"),
    Flag(
      "sort-by",
      "CREATE, KEY, MODIFY, VALUE or VERSION",
      values: .words(["CREATE", "KEY", "MODIFY", "VALUE", "VERSION"])
    ),
    Flag("tree", .bool, "", "show the keys as a tree of the parts between slashes"),
  ]

  static func run(_ invocation: Invocation) async throws {
    let request = try request(invocation)
    let flags = invocation.flags
    if flags.bool("count-only"), ![.fields, .json].contains(invocation.format) {
      throw Failure.badArguments("--count-only is only for `--write-out=fields`")
    }
    var printer = invocation.printer
    printer.isValueOnly = flags.bool("print-value-only")
    if printer.isValueOnly, invocation.format != .simple {
      throw Failure.badArguments("print-value-only is only for `--write-out=simple`")
    }
    if flags.bool("tree"), invocation.format != .simple {
      throw Failure.badArguments("tree is only for `--write-out=simple`")
    }
    try await invocation.withConnection { connection in
      let response = try await connection.range(request)
      if flags.bool("tree") {
        let hidesValues = flags.bool("keys-only")
        let tree = KeyTree(response.kvs.map { (printer.shown($0.key), printer.shown($0.value)) })
        Streams.write(tree.lines(hidesValues: hidesValues, usesColour: Streams.usesColour))
      } else {
        printer.get(response)
      }
    }
  }

  /// The request that the flags and arguments stand for.
  static func request(_ invocation: Invocation) throws -> Etcdserverpb.RangeRequest {
    let flags = invocation.flags
    let arguments = invocation.arguments
    guard !arguments.isEmpty else {
      throw Failure.badArguments(
        "get command needs one argument as key and an optional argument as range_end"
      )
    }
    if flags.bool("keys-only"), flags.bool("count-only") {
      throw Failure.badArguments(
        "`--keys-only` and `--count-only` cannot be set at the same time, choose one"
      )
    }
    var request = Etcdserverpb.RangeRequest()
    switch flags["consistency"] {
    case "s": request.serializable = true
    case "l": break
    case let other:
      throw Failure(.badFeature, "unknown consistency flag \(GoText.quoted(other))")
    }
    (request.key, request.rangeEnd) = try KeyEnd.span(invocation, arguments)
    request.limit = flags.integer("limit")
    request.revision = flags.integer("rev")
    request.keysOnly = flags.bool("keys-only")
    request.countOnly = flags.bool("count-only")
    request.minModRevision = flags.integer("min-mod-rev")
    request.maxModRevision = flags.integer("max-mod-rev")
    request.minCreateRevision = flags.integer("min-create-rev")
    request.maxCreateRevision = flags.integer("max-create-rev")
    try sort(flags, &request)
    return request
  }

  private static func sort(_ flags: FlagValues, _ request: inout Etcdserverpb.RangeRequest) throws {
    let target = flags["sort-by"].uppercased()
    switch target {
    case "CREATE": request.sortTarget = .create
    case "KEY", "": request.sortTarget = .key
    case "MODIFY": request.sortTarget = .mod
    case "VALUE": request.sortTarget = .value
    case "VERSION": request.sortTarget = .version
    default: throw Failure(.badFeature, "bad sort target \(flags["sort-by"])")
    }
    switch flags["order"].uppercased() {
    case "ASCEND": request.sortOrder = .ascend
    case "DESCEND": request.sortOrder = .descend
    case "": request.sortOrder = target.isEmpty ? .none : .ascend
    default: throw Failure(.badFeature, "bad sort order \(flags["order"])")
    }
  }
}
