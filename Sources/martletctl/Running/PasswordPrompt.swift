import Glibc
import Synchronization

/// Asks for passwords, which are not shown as they are typed.
enum PasswordPrompt {
  nonisolated(unsafe) private static var lines = InputLines()
  private static let answers = Mutex<[String: String]>([:])

  /// Asks once in the life of the process, however many clients are made.
  static func once(_ prompt: String) throws -> String {
    if let answer = answers.withLock({ $0[prompt] }) { return answer }
    let answer = try ask(prompt)
    answers.withLock { $0[prompt] = answer }
    return answer
  }

  /// One line of the standard input. The prompt goes to the standard output, as etcdctl's does.
  static func ask(_ prompt: String) throws -> String {
    var shown = termios()
    let isTerminal = tcgetattr(STDIN_FILENO, &shown) == 0
    if isTerminal {
      var hidden = shown
      hidden.c_lflag &= ~tcflag_t(ECHO)
      tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden)
    }
    // Only now: what is typed behind the prompt is not shown, nor lost.
    Streams.print(prompt, terminator: "")
    defer {
      if isTerminal { tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown) }
      Streams.print("")
    }
    return String(decoding: try lines.next()?.text ?? [], as: UTF8.self)
  }

  /// A new password for a user: asked twice, or with `isInteractive` false one line without a prompt.
  static func new(for user: String, isInteractive: Bool) throws -> String {
    guard isInteractive else {
      return String(decoding: try lines.next()?.text ?? [], as: UTF8.self)
    }
    let first = try ask("Password of \(user): ")
    guard !first.isEmpty else { throw Failure.badArguments("empty password") }
    let second = try ask("Type password of \(user) again for confirmation: ")
    guard first == second else { throw Failure.badArguments("given passwords are different") }
    return first
  }
}
