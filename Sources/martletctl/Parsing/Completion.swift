/// What a shell is offered while a command line is typed.
///
/// Shells ask by `martletctl __complete WORD...`, the last word being the one under the cursor, and
/// read a line for each candidate (behind a tab its description) and a line with a directive: the
/// protocol that etcdctl speaks.
struct Completion {
  /// What a shell does beside offering the candidates.
  enum Directive: Int {
    /// Complete names of files when there are no candidates.
    case files = 0
    case noFiles = 4
  }

  struct Candidate: Equatable {
    let word: String
    let help: String
  }

  private(set) var candidates: [Candidate] = []
  private(set) var directive = Directive.noFiles

  private let commands: [Command]
  private let globals: [Flag]

  /// Completes the last of `words` among the names, flags and values that may stand there.
  init(_ words: [String], commands: [Command], globals: [Flag]) {
    self.commands = commands
    self.globals = globals
    var words = words
    var current = words.popLast() ?? ""
    // PowerShell loses arguments that are empty, so its script sends two quotes.
    if current == "\"\"" { current = "" }
    let line = said(words)
    if let flag = line.awaitingValue {
      offerValues(of: flag, to: current)
    } else if line.isBehindDashes {
      directive = line.command?.takesFiles == true ? .files : .noFiles
    } else if current.hasPrefix("--"), let equals = current.firstIndex(of: "=") {
      let name = current[..<equals].dropFirst(2)
      guard let flag = flags(line.command).first(where: { $0.name == name }) else { return }
      offerValues(of: flag, to: String(current[current.index(after: equals)...]))
    } else if current.hasPrefix("-") {
      offerFlags(line, to: current)
    } else if line.command == nil {
      offerNames(behind: line.path, to: current)
    } else {
      directive = line.command?.takesFiles == true ? .files : .noFiles
    }
  }

  /// The answer's lines.
  func text(describes: Bool) -> String {
    let lines = candidates.map { candidate in
      describes && !candidate.help.isEmpty
        ? "\(candidate.word)\t\(candidate.help)" : candidate.word
    }
    return (lines + [":\(directive.rawValue)"]).joined(separator: "\n") + "\n"
  }

  // MARK: What stands before the cursor

  private struct Line {
    /// The words of the command so far.
    var path: [String] = []
    var command: Command?
    var given: Set<String> = []
    var awaitingValue: Flag?
    var isBehindDashes = false
  }

  private func said(_ words: [String]) -> Line {
    var line = Line()
    for word in words {
      if line.isBehindDashes { continue }
      if line.awaitingValue != nil {
        line.awaitingValue = nil
      } else if word == "--" {
        line.isBehindDashes = true
      } else if word.hasPrefix("-"), word != "-" {
        take(flag: word, &line)
      } else if line.command == nil {
        line.path.append(word)
        if line.path.first == "help" { continue }
        line.command = commands.first { command in
          command.path.count == line.path.count && command.isCalled(word)
            && command.path.dropLast().elementsEqual(line.path.dropLast())
        }
      }
    }
    return line
  }

  private func take(flag word: String, _ line: inout Line) {
    let text = word.drop { $0 == "-" }
    let name = text.prefix { $0 != "=" }
    let flag = flags(line.command).first { flag in
      word.hasPrefix("--") ? flag.name == name : flag.short == word.last
    }
    guard let flag else { return }
    if flag.kind != .list { line.given.insert(flag.name) }
    if flag.kind != .bool, name.count == text.count { line.awaitingValue = flag }
  }

  private func flags(_ command: Command?) -> [Flag] { (command?.flags ?? []) + globals }

  // MARK: What is offered

  private mutating func offer(_ word: String, _ help: String, to current: String) {
    if word.hasPrefix(current) { candidates.append(Candidate(word: word, help: help)) }
  }

  private mutating func offerValues(of flag: Flag, to current: String) {
    switch flag.values {
    case .any: break
    case .files: directive = .files
    case .words(let words): for word in words { offer(word, "", to: current) }
    }
  }

  private mutating func offerFlags(_ line: Line, to current: String) {
    for flag in flags(line.command) where !line.given.contains(flag.name) {
      offer("--\(flag.name)", flag.help, to: current)
      if let short = flag.short { offer("-\(short)", flag.help, to: current) }
    }
    for name in ["--help", "-h"] { offer(name, "help for this command", to: current) }
  }

  private mutating func offerNames(behind path: [String], to current: String) {
    let path = path.first == "help" ? Array(path.dropFirst()) : path
    var seen: Set<String> = []
    for command in commands.sorted(by: { $0.name < $1.name })
    where command.path.count > path.count && command.path.starts(with: path) {
      let name = command.path[path.count]
      guard seen.insert(name).inserted else { continue }
      let isGroup = command.path.count > path.count + 1
      offer(name, isGroup ? "see its commands" : command.summary, to: current)
    }
    guard path.isEmpty else { return }
    offer("help", "explains a command", to: current)
    candidates.sort { $0.word < $1.word }
  }
}
