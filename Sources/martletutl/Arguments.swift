import ArgumentParser

/// Arguments that can be read and make no sense: too many, too few, or against each other.
struct BadArguments: Error, CustomStringConvertible {
  let description: String
}

/// The one file that a command works on.
struct FileArgument: ParsableArguments {
  @Argument(help: ArgumentHelp(valueName: "filename"))
  var filenames: [String] = []

  /// Once `check` has passed.
  var path: String { filenames[0] }

  /// Throws `BadArguments`, in etcdutl's words.
  func check(for command: String) throws(BadArguments) {
    guard filenames.count == 1 else {
      throw BadArguments(description: "\(command) requires exactly one argument")
    }
  }
}

/// The command line as Go's flags allow it, brought into the parser's form.
enum CommandLineForm {
  private static let switches = ["--skip-hash-check", "--mark-compacted", "--keep-members"]
  private static let shortFormat = "-w"
  private static let longFormat = "--write-out"

  /// Switches may have a value (`--mark-compacted=true`), and the output format may be anywhere and
  /// stick to its flag (`-wjson`).
  static func normal(_ arguments: [String]) -> [String] {
    let end = arguments.firstIndex(of: "--") ?? arguments.endIndex
    var flags: [String] = []
    var formats: [String] = []
    var isFormat = false
    for argument in arguments[..<end] {
      if isFormat {
        formats.append(argument)
        isFormat = false
      } else if argument == shortFormat || argument == longFormat {
        formats.append(argument)
        isFormat = true
      } else if argument.hasPrefix("\(longFormat)=") || argument.hasPrefix("\(shortFormat)=") {
        formats.append(argument)
      } else if argument.hasPrefix(shortFormat) {
        formats += [shortFormat, String(argument.dropFirst(shortFormat.count))]
      } else {
        flags += switched(argument)
      }
    }
    return flags + formats + arguments[end...]
  }

  /// A switch with a value as one without, or as nothing.
  private static func switched(_ argument: String) -> [String] {
    for name in switches where argument.hasPrefix("\(name)=") {
      switch argument.dropFirst(name.count + 1) {
      case "true", "1", "t", "T", "TRUE", "True": return [name]
      case "false", "0", "f", "F", "FALSE", "False": return []
      default: return [argument]
      }
    }
    return [argument]
  }
}
