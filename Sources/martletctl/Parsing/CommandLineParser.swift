import Flags

/// Reads a command line as etcdctl does: flags anywhere before `--`, in Go's spelling.
struct CommandLineParser {
  let commands: [Command]
  let globals: [Flag]

  enum Result {
    case run(Command, FlagValues, arguments: [String], countBeforeDash: Int?)
    case help(Command)
    /// The commands below these words; none: all.
    case groupHelp([String])
  }

  /// Why the words cannot be taken, and whose usage explains it.
  struct Misuse: Error {
    let message: String
    let command: Command?
  }

  func parse(_ words: [String]) throws(Misuse) -> Result {
    guard let first = nextWord(words, from: 0) else { return try rootOnly(words) }
    let name = words[first]
    if name == "help" {
      return help(words.indices.filter { $0 != first }.map { words[$0] })
    }
    if let command = commands.first(where: { $0.path.count == 1 && $0.isCalled(name) }) {
      var rest = words
      rest.remove(at: first)
      return try parse(command, rest)
    }
    let group = commands.filter { $0.path.count == 2 && $0.path[0] == name }
    guard !group.isEmpty else { throw unknownCommand(name) }
    guard let second = nextWord(words, from: first + 1),
      let command = group.first(where: { $0.isCalled(words[second]) })
    else { return .groupHelp([name]) }
    var rest = words
    rest.remove(at: second)
    rest.remove(at: first)
    return try parse(command, rest)
  }

  private func unknownCommand(_ name: String) -> Misuse {
    let names = commands.map { $0.path[0] }
    let hint = NearestName.find(name, among: names).map { "\nDid you mean \"\($0)\"?" } ?? ""
    return Misuse(
      message: "unknown command \(GoText.quoted(name)) for \"martletctl\"\(hint)",
      command: nil
    )
  }

  private func rootOnly(_ words: [String]) throws(Misuse) -> Result {
    // Flags alone: they must at least be known.
    let root = Command(path: [], usage: "", summary: "") { _ in }
    _ = try parse(root, words)
    return .groupHelp([])
  }

  private func help(_ words: [String]) -> Result {
    let names = words.filter { !$0.hasPrefix("-") }
    guard let name = names.first else { return .groupHelp([]) }
    if let command = commands.first(where: { $0.path.count == 1 && $0.isCalled(name) }) {
      return .help(command)
    }
    let group = commands.filter { $0.path.count == 2 && $0.path[0] == name }
    if names.count > 1, let command = group.first(where: { $0.isCalled(names[1]) }) {
      return .help(command)
    }
    return .groupHelp(group.isEmpty ? [] : [name])
  }

  /// The position of the first word from `start` on that is neither a flag nor a flag's value.
  private func nextWord(_ words: [String], from start: Int) -> Int? {
    var index = start
    while index < words.count {
      let word = words[index]
      if word == "--" { return nil }
      if word.hasPrefix("-"), word != "-" {
        if takesNext(word) { index += 1 }
      } else if !word.isEmpty {
        return index
      }
      index += 1
    }
    return nil
  }

  private func takesNext(_ word: String) -> Bool {
    guard !word.contains("=") else { return false }
    if word.hasPrefix("--") {
      let name = String(word.dropFirst(2))
      if name == "help" { return false }
      return globals.first { $0.name == name }?.kind != .bool
    }
    guard word.count == 2, word != "-h" else { return false }
    return globals.first { $0.short == word.last }?.kind != .bool
  }

  // MARK: Flags

  func parse(_ command: Command, _ words: [String]) throws(Misuse) -> Result {
    let flags = globals + command.flags
    var values = FlagValues(flags)
    var arguments: [String] = []
    var countBeforeDash: Int?
    var isHelpWanted = false
    var rest = words[...]
    while let word = rest.popFirst() {
      if word == "--" {
        countBeforeDash = arguments.count
        arguments += rest
        break
      }
      if word.hasPrefix("--") {
        let text = word.dropFirst(2)
        let name = String(text.prefix { $0 != "=" })
        if name == "help" {
          isHelpWanted = true
          continue
        }
        guard let flag = flags.first(where: { $0.name == name }) else {
          throw Misuse(message: "unknown flag: --\(name)", command: command)
        }
        let given = text.count > name.count ? String(text.dropFirst(name.count + 1)) : nil
        try take(flag, "--\(name)", given, &rest, &values, command)
      } else if word.hasPrefix("-"), word != "-" {
        if try takeShort(word, flags, &rest, &values, command) { isHelpWanted = true }
      } else {
        arguments.append(word)
      }
    }
    if isHelpWanted { return command.path.isEmpty ? .groupHelp([]) : .help(command) }
    return .run(command, values, arguments: arguments, countBeforeDash: countBeforeDash)
  }

  /// Flags of one letter, several of which may stand together. True when help is asked for.
  private func takeShort(
    _ word: String,
    _ flags: [Flag],
    _ rest: inout ArraySlice<String>,
    _ values: inout FlagValues,
    _ command: Command
  ) throws(Misuse) -> Bool {
    var letters = word.dropFirst()
    var isHelpWanted = false
    while let letter = letters.popFirst() {
      if letter == "h" {
        isHelpWanted = true
        continue
      }
      guard let flag = flags.first(where: { $0.short == letter }) else {
        let text = "unknown shorthand flag: '\(letter)' in \(word)"
        throw Misuse(message: text, command: command)
      }
      var given: String?
      if letters.first == "=" {
        given = String(letters.dropFirst())
        letters = ""
      } else if flag.kind != .bool, !letters.isEmpty {
        given = String(letters)
        letters = ""
      }
      let name = "'\(letter)' in \(word)"
      try take(flag, name, given, &rest, &values, command)
    }
    return isHelpWanted
  }

  private func take(
    _ flag: Flag,
    _ name: String,
    _ given: String?,
    _ rest: inout ArraySlice<String>,
    _ values: inout FlagValues,
    _ command: Command
  ) throws(Misuse) {
    let text: String
    if let given {
      text = given
    } else if flag.kind == .bool {
      text = "true"
    } else if let next = rest.popFirst() {
      text = next
    } else {
      throw Misuse(message: "flag needs an argument: \(name)", command: command)
    }
    if let objection = flag.objection(to: text) {
      let place = flag.short.map { "-\($0), --\(flag.name)" } ?? "--\(flag.name)"
      let message = "invalid argument \(GoText.quoted(text)) for \"\(place)\" flag: \(objection)"
      throw Misuse(message: message, command: command)
    }
    values.set(flag.name, text)
  }
}

extension Command {
  func isCalled(_ name: String) -> Bool { path.last == name || aliases.contains(name) }
}
