/// Scripts made from the table of commands.
enum CompletionScript {
  private static let program = "martletctl"

  private static var commands: [Command] { CommandTable.all }
  private static var groups: [String] { unique(commands.map { $0.path[0] }) }

  private static func unique(_ names: [String]) -> [String] {
    var seen: Set<String> = []
    return names.filter { seen.insert($0).inserted }.sorted()
  }

  private static func subcommands(of group: String) -> [Command] {
    commands.filter { $0.path.count == 2 && $0.path[0] == group }
  }

  /// The global flags that have a value behind them.
  private static var valued: [Flag] { GlobalFlags.all.filter { $0.kind != .bool } }

  private static func flagWords(_ flags: [Flag]) -> String {
    (flags.map { "--\($0.name)" } + ["--help"]).joined(separator: " ")
  }

  static func bash() -> String {
    let valuePattern = valued.flatMap { flag in
      ["--\(flag.name)"] + (flag.short.map { ["-\($0)"] } ?? [])
    }.joined(separator: "|")
    var cases = ""
    for group in groups {
      let below = subcommands(of: group)
      let names = below.compactMap { $0.path.last }.joined(separator: " ")
      if !names.isEmpty { cases += "    \(group)) words=\"\(names)\" ;;\n" }
    }
    for command in commands {
      cases += "    \"\(command.name)\") words=\"\(flagWords(command.flags))\" ;;\n"
    }
    return """
      # bash completion for \(program); put it in /etc/bash_completion.d or source it.
      _\(program)() {
        local cur="${COMP_WORDS[COMP_CWORD]}" path="" words="" i skip=0
        for ((i = 1; i < COMP_CWORD; i++)); do
          if ((skip)); then skip=0; continue; fi
          case "${COMP_WORDS[i]}" in
          \(valuePattern)) skip=1 ;;
          -*|=) ;;
          *) [[ "$path" == *" "* ]] || path="${path:+$path }${COMP_WORDS[i]}" ;;
          esac
        done
        COMPREPLY=()
        if ((skip)); then
          case "${COMP_WORDS[COMP_CWORD-1]}" in
          -w|--write-out) COMPREPLY=($(compgen -W "\(formatNames)" -- "$cur")) ;;
          --cacert|--cert|--key) COMPREPLY=($(compgen -f -- "$cur")) ;;
          esac
          return
        fi
        local globals="\(flagWords(GlobalFlags.all))"
        _\(program)_words() {
          case "$1" in
          "") words="\(groups.joined(separator: " ")) help" ;;
      \(cases)    *) words="" ;;
          esac
        }
        _\(program)_words "$path"
        # Arguments follow a command of one word.
        [[ -z "$words" && "$path" == *" "* ]] && _\(program)_words "${path%% *}"
        if [[ "$cur" == -* ]]; then
          COMPREPLY=($(compgen -W "$words $globals" -- "$cur"))
        elif [[ "$words" != --* ]]; then
          COMPREPLY=($(compgen -W "$words" -- "$cur"))
        fi
      }
      complete -o default -F _\(program) \(program)

      """
  }

  private static var formatNames: String {
    OutputFormat.allCases.map(\.rawValue).joined(separator: " ")
  }

  /// A text in single quotes, as all shells take it.
  private static func quoted(_ text: String) -> String {
    "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''")
      + "'"
  }

  static func zsh(describes: Bool) -> String {
    func entry(_ name: String, _ help: String) -> String {
      quoted(describes ? "\(name):\(help)" : name)
    }
    var cases = ""
    for group in groups where !subcommands(of: group).isEmpty {
      let entries = subcommands(of: group).map { entry($0.path[1], $0.summary) }
      cases += "    \(quoted(group))) entries=(\(entries.joined(separator: " "))) ;;\n"
    }
    for command in commands {
      let entries =
        command.flags.map { entry("--\($0.name)", $0.help) } + [entry("--help", "its help")]
      cases += "    \(quoted(command.name))) flags=(\(entries.joined(separator: " "))) ;;\n"
    }
    let top = groups.map { name in
      entry(name, commands.first { $0.path == [name] }?.summary ?? "see its commands")
    }
    let globals = GlobalFlags.all.map { entry("--\($0.name)", $0.help) }
    let values = valued.map { "--\($0.name)" } + valued.compactMap { $0.short.map { "-\($0)" } }
    return """
      #compdef \(program)
      _\(program)() {
        local said="" i skip=0
        local -a given entries flags globals
        given=("${words[@]}")
        for ((i = 2; i < CURRENT; i++)); do
          if ((skip)); then skip=0; continue; fi
          case "${given[i]}" in
          \(values.joined(separator: "|"))) skip=1 ;;
          -*) ;;
          *) [[ "$said" == *" "* ]] || said="${said:+$said }${given[i]}" ;;
          esac
        done
        globals=(\(globals.joined(separator: " ")))
        if ((skip)); then _files; return; fi
        _\(program)_entries "$said"
        # Arguments follow a command of one word.
        ((${#entries} + ${#flags})) || _\(program)_entries "${said%% *}"
        if [[ "${given[CURRENT]}" == -* ]]; then
          _describe -t flags 'flag' flags
          _describe -t globals 'global flag' globals
        elif ((${#entries})); then
          _describe -t commands 'command' entries
        else
          _files
        fi
      }
      _\(program)_entries() {
        case "$1" in
        '') entries=(\(top.joined(separator: " "))) ;;
      \(cases)  esac
      }
      if [[ "$funcstack[1]" == _\(program) ]]; then _\(program) "$@"; else compdef _\(program) \(program); fi

      """
  }

  static func fish(describes: Bool) -> String {
    func line(_ condition: String, _ rest: String, _ help: String) -> String {
      let description = describes ? " -d \(quoted(help))" : ""
      return "complete -c \(program) -n \(quoted(condition)) \(rest)\(description)\n"
    }
    var text = "# fish completion for \(program)\ncomplete -c \(program) -f\n"
    for flag in GlobalFlags.all {
      let short = flag.short.map { " -s \($0)" } ?? ""
      let value = flag.kind == .bool ? "" : " -r"
      text += line("true", "-l \(flag.name)\(short)\(value)", flag.help)
    }
    for group in groups {
      let summary = commands.first { $0.path == [group] }?.summary ?? "see its commands"
      text += line("__fish_use_subcommand", "-a \(group)", summary)
    }
    for command in commands {
      var condition = "__fish_seen_subcommand_from \(command.path[0])"
      if command.path.count == 2 {
        let names = subcommands(of: command.path[0]).map { $0.path[1] }.joined(separator: " ")
        let unseen = "\(condition); and not __fish_seen_subcommand_from \(names)"
        text += line(unseen, "-a \(command.path[1])", command.summary)
        condition += "; and __fish_seen_subcommand_from \(command.path[1])"
      }
      for flag in command.flags {
        text += line(condition, "-l \(flag.name)\(flag.kind == .bool ? "" : " -r")", flag.help)
      }
    }
    return text
  }
}
