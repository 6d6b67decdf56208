/// What `--help` prints, in etcdctl's layout.
enum Usage {
  static func text(of command: Command) -> String {
    let flags = command.flags + [help(for: command.path[command.path.count - 1])]
    var text = "NAME:\n\t\(command.path.last ?? "") - \(command.summary)\n\n"
    text += "USAGE:\n\tmartletctl \(command.name)\(command.usage.isEmpty ? "" : " ")"
    text += "\(command.usage) [flags]\n\n"
    text += "OPTIONS:\n\(list(flags))\n\n"
    return text + "GLOBAL OPTIONS:\n\(list(GlobalFlags.all))\n"
  }

  static func text(ofGroup words: [String], _ commands: [Command]) -> String {
    let members = commands.filter { $0.path.starts(with: words) }
    let rows = members.map { command in
      (command.path.dropFirst(words.count).joined(separator: " "), command.summary)
    }.sorted { $0.0 < $1.0 }
    let width = rows.map(\.0.count).max() ?? 0
    var text = "NAME:\n\t\((["martletctl"] + words).joined(separator: " ")) - "
    text += words.isEmpty ? "the command line of Martlet and etcd\n\n" : "see its commands\n\n"
    text += "USAGE:\n\t\((["martletctl"] + words).joined(separator: " ")) <command> [flags]\n\n"
    text += "COMMANDS:\n"
    for (name, summary) in rows {
      text += "\t\(name)\(String(repeating: " ", count: width - name.count + 2))\(summary)\n"
    }
    text += words.isEmpty ? "\nOPTIONS:\n" : "\nGLOBAL OPTIONS:\n"
    return text + list(GlobalFlags.all) + "\n"
  }

  private static func help(for name: String) -> Flag {
    Flag("help", short: "h", .bool, "", "help for \(name)")
  }

  private static func list(_ flags: [Flag]) -> String {
    let rows = flags.sorted { $0.name < $1.name }.map { flag -> (String, String) in
      let short = flag.short.map { "  -\($0), " } ?? "      "
      let value =
        switch flag.kind {
        case .bool: "[=\(flag.standard)]"
        case .string: "=\"\(flag.standard)\""
        case .integer, .duration: "=\(flag.standard)"
        case .list: "=[\(flag.standard)]"
        }
      return ("\(short)--\(flag.name)\(value)", flag.help)
    }
    let width = rows.map(\.0.count).max() ?? 0
    return rows.map { left, help in
      left + String(repeating: " ", count: width - left.count + 2) + help
    }.joined(separator: "\n")
  }
}
