import Proto

/// The grammar of transactions.
enum TxnText {
  static func trimmed(_ text: String) -> String {
    let start = text.drop { $0.isWhitespace }
    guard let last = start.lastIndex(where: { !$0.isWhitespace }) else { return "" }
    return String(start[...last])
  }

  // MARK: Conditions

  /// Reads `value("key") = "1"`. Targets: `ver`, `c`, `m`, `val`, their long names, and `lease`.
  static func compare(_ line: String) throws -> Etcdserverpb.Compare {
    func malformed(_ reason: String) -> Failure {
      Failure(.invalidInput, "malformed comparison: \(line)\(reason)")
    }
    guard let bracket = line.firstIndex(of: "(") else { throw malformed("") }
    let target = String(line[..<bracket])
    var rest = line[line.index(after: bracket)...]
    let key = quotedText(&rest)
    var relation = ""
    var value: [UInt8]?
    if key != nil, rest.first == ")" {
      rest = rest.dropFirst().drop { $0 == " " || $0 == "\t" }
      relation = String(rest.prefix { !$0.isWhitespace })
      rest = rest.dropFirst(relation.count).drop { $0 == " " || $0 == "\t" }
      value = quotedText(&rest)
    }
    guard let key, let value else {
      let shown = RawText.text(GoText.quoted(key ?? []))
      throw malformed("; got \(target)(\(shown)) \(relation) \"\"")
    }
    var compare = Etcdserverpb.Compare()
    compare.key = key
    switch relation {
    case "=": compare.result = .equal
    case "!=": compare.result = .notEqual
    case ">": compare.result = .greater
    case "<": compare.result = .less
    default: throw malformed(" (unknown operator \(relation))")
    }
    try set(target, RawText.text(value), value, line, &compare)
    return compare
  }

  private static func set(
    _ target: String,
    _ text: String,
    _ bytes: [UInt8],
    _ line: String,
    _ compare: inout Etcdserverpb.Compare
  ) throws {
    func number(radix: Int = 10) throws -> Int64 {
      guard let number = GoText.parseInteger(text, radix: radix).value else {
        throw Failure(.invalidInput, "invalid txn compare request: \(line)")
      }
      return number
    }
    switch target {
    case "ver", "version":
      compare.target = .version
      compare.targetUnion = .version(try number())
    case "c", "create":
      compare.target = .create
      compare.targetUnion = .createRevision(try number())
    case "m", "mod":
      compare.target = .mod
      compare.targetUnion = .modRevision(try number())
    case "val", "value":
      compare.target = .value
      compare.targetUnion = .value(bytes)
    case "lease":
      compare.target = .lease
      compare.targetUnion = .lease(try number(radix: 16))
    default:
      throw Failure(
        .invalidInput,
        "malformed comparison: \(line) (unknown target \(target))"
      )
    }
  }

  /// Takes a text in double quotes with Go's escapes, or in backquotes; nil when there is none.
  private static func quotedText(_ rest: inout Substring) -> [UInt8]? {
    guard let quote = rest.first, quote == "\"" || quote == "`" else { return nil }
    var index = rest.index(after: rest.startIndex)
    while index < rest.endIndex {
      if rest[index] == quote {
        let content = rest[rest.index(after: rest.startIndex)..<index]
        rest = rest[rest.index(after: index)...]
        return quote == "`" ? RawText.bytes(content) : unescaped(content)
      }
      if rest[index] == "\\", quote == "\"" { index = rest.index(after: index) }
      guard index < rest.endIndex else { return nil }
      index = rest.index(after: index)
    }
    return nil
  }

  private static let escapes: [UInt8: UInt8] = [
    UInt8(ascii: "a"): 7, UInt8(ascii: "b"): 8, UInt8(ascii: "f"): 12, UInt8(ascii: "n"): 10,
    UInt8(ascii: "r"): 13, UInt8(ascii: "t"): 9, UInt8(ascii: "v"): 11, UInt8(ascii: "\\"): 92,
    UInt8(ascii: "\""): 34, UInt8(ascii: "'"): 39,
  ]

  /// What stands between double quotes, its escapes read; nil when one is none.
  static func unescaped(_ text: Substring) -> [UInt8]? {
    var result: [UInt8] = []
    var rest = RawText.bytes(text)[...]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "\\") else {
        result.append(byte)
        continue
      }
      guard let kind = rest.popFirst() else { return nil }
      func number(_ digits: Int, _ radix: Int) -> UInt32? {
        guard rest.count >= digits else { return nil }
        defer { rest = rest.dropFirst(digits) }
        return UInt32(String(decoding: rest.prefix(digits), as: UTF8.self), radix: radix)
      }
      if let plain = escapes[kind] {
        result.append(plain)
      } else if kind == UInt8(ascii: "x") {
        guard let value = number(2, 16) else { return nil }
        result.append(UInt8(value))
      } else if kind == UInt8(ascii: "u") || kind == UInt8(ascii: "U") {
        let value = number(kind == UInt8(ascii: "u") ? 4 : 8, 16)
        guard let value, let scalar = Unicode.Scalar(value) else { return nil }
        result += String(Character(scalar)).utf8
      } else if (0x30...0x37).contains(kind) {
        rest = [kind] + rest
        guard let value = number(3, 8), value < 256 else { return nil }
        result.append(UInt8(value))
      } else {
        return nil
      }
    }
    return result
  }

  // MARK: Requests

  /// Reads `get`, `put` or `del` with their flags and arguments.
  static func operation(
    _ line: String,
    _ invocation: Invocation
  ) throws -> Etcdserverpb.RequestOp {
    let invalid = Failure(.invalidInput, "invalid txn request: \(line)")
    let words = words(line)
    let known = (GetCommand.all + KeyCommands.all).first { $0.path == [words[0]] }
    guard let command = known, command.path != ["compaction"] else { throw invalid }
    let parser = CommandLineParser(commands: [], globals: GlobalFlags.all)
    guard let parsed = try? parser.parse(command, Array(words.dropFirst())),
      case .run(_, let flags, let arguments, let countBeforeDash) = parsed
    else { throw invalid }
    let inner = Invocation(
      command: command,
      flags: flags,
      arguments: arguments,
      countBeforeDash: countBeforeDash,
      format: invocation.format
    )
    var operation = Etcdserverpb.RequestOp()
    switch command.path[0] {
    case "get": operation.request = .requestRange(try GetCommand.request(inner))
    case "put":
      operation.request = .requestPut(try KeyCommands.putRequest(inner, mayReadInput: false))
    default: operation.request = .requestDeleteRange(try KeyCommands.deleteRequest(inner))
    }
    return operation
  }

  /// Splits a line at blanks outside of quotes: "with escapes", or 'without'.
  static func words(_ line: String) -> [String] {
    var words: [String] = []
    var rest = line[...]
    while true {
      rest = rest.drop { $0.isWhitespace }
      guard let first = rest.first else { return words }
      if first == "\"" {
        var copy = rest
        if let content = quotedText(&copy) {
          words.append(RawText.text(content))
          rest = copy
          continue
        }
      } else if first == "'", let end = rest.dropFirst().firstIndex(of: "'") {
        words.append(String(rest[rest.index(after: rest.startIndex)..<end]))
        rest = rest[rest.index(after: end)...]
        continue
      }
      let word = rest.prefix { !$0.isWhitespace }
      words.append(String(word))
      rest = rest.dropFirst(word.count)
    }
  }
}
