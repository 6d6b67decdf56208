/// The text of `--help`, made from the flag table.
enum FlagHelp {
  private static let widthMax = 80

  static var text: String {
    var lines = [
      "Usage: martlet [flags]           runs a member",
      "       martlet version           prints the version",
      "       martlet gateway start     runs a TCP gateway to members",
      "       martlet grpc-proxy start  runs a proxy of the API",
      "",
      "A flag has one dash or two and its value after a space or '='; a bool needs none.",
      "Each is also a variable (--data-dir is ETCD_DATA_DIR) and a key of the file given by",
      "--config-file. A flag beats a variable; with a file, the file alone counts.",
      "Flags marked * are read and checked and have no effect yet.",
    ]
    for group in Flag.Group.allCases {
      lines += ["", "\(group.rawValue):"]
      for flag in FlagTable.all where flag.group == group {
        lines += describe(flag)
      }
    }
    return lines.joined(separator: "\n")
  }

  private static func describe(_ flag: Flag) -> [String] {
    let mark = flag.effect == .acceptedWithoutEffect ? " *" : ""
    var title = "  --\(flag.name)\(mark)"
    if case .command = flag.kind {} else { title += "  '\(flag.defaultText)'" }
    return [title] + wrap(flag.help, indent: 6)
  }

  private static func wrap(_ text: String, indent: Int) -> [String] {
    let margin = String(repeating: " ", count: indent)
    var lines: [String] = []
    var line = ""
    for word in text.split(separator: " ") {
      if !line.isEmpty, indent + line.count + 1 + word.count > widthMax {
        lines.append(margin + line)
        line = ""
      }
      line += line.isEmpty ? word : " " + word
    }
    return lines + [margin + line]
  }
}
