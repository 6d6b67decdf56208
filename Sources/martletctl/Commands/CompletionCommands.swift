/// `completion ...`: scripts for shells; and what these scripts ask.
enum CompletionCommands {
  private static let noDescriptions = Flag("no-descriptions", .bool, "", "leave explanations out")

  static let all = [
    command("bash", CompletionScript.bash), command("zsh", CompletionScript.zsh),
    command("fish", CompletionScript.fish), command("powershell", CompletionScript.powershell),
  ]

  private static func command(
    _ shell: String,
    _ script: @escaping @Sendable (_ describes: Bool) -> String
  ) -> Command {
    Command(
      path: ["completion", shell],
      usage: "",
      summary: "prints what makes \(shell) complete commands and flags",
      flags: [noDescriptions]
    ) { Streams.print(script(!$0.flags.bool("no-descriptions")), terminator: "") }
  }

  /// Answers a shell. False when the words are no such request.
  static func answer(_ words: [String]) -> Bool {
    let describes = words.first == "__complete"
    guard describes || words.first == "__completeNoDesc" else { return false }
    let completion = Completion(
      Array(words.dropFirst()),
      commands: CommandTable.all,
      globals: GlobalFlags.all
    )
    Streams.print(completion.text(describes: describes), terminator: "")
    return true
  }
}
