/// `completion ...`: scripts for shells.
enum CompletionCommands {
  private static let noDescriptions = Flag("no-descriptions", .bool, "", "leave explanations out")

  static let all = [
    command("bash") { _ in CompletionScript.bash() },
    command("zsh") { CompletionScript.zsh(describes: !$0) },
    command("fish") { CompletionScript.fish(describes: !$0) },
    Command(
      path: ["completion", "powershell"],
      usage: "",
      summary: "is not there: use bash, zsh or fish",
      flags: [noDescriptions]
    ) { _ in
      throw Failure.badArguments(
        "there is no completion for powershell; bash, zsh and fish have one"
      )
    },
  ]

  private static func command(
    _ shell: String,
    _ script: @escaping @Sendable (_ omitsDescriptions: Bool) -> String
  ) -> Command {
    Command(
      path: ["completion", shell],
      usage: "",
      summary: "prints what makes \(shell) complete commands and flags",
      flags: [noDescriptions]
    ) { Streams.print(script($0.flags.bool("no-descriptions")), terminator: "") }
  }
}
