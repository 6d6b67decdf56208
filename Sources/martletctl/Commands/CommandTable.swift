import MartletClient

/// All commands.
enum CommandTable {
  static let all: [Command] =
    GetCommand.all + KeyCommands.all + TxnCommand.all + WatchCommand.all + LeaseCommands.all
    + MemberCommands.all + EndpointCommands.all + MaintenanceCommands.all + SnapshotCommands.all
    + UserCommands.all + RoleCommands.all + AuthCommands.all + LockCommand.all + ElectCommand.all
    + CheckCommands.all + MirrorCommand.all + TopCommand.all + CompletionCommands.all
}

/// Arguments as commands read them.
extension Invocation {
  /// The bytes of an argument, as they came.
  func bytes(_ index: Int) -> [UInt8] { RawText.bytes(arguments[index]) }

  /// Runs `body` with a client of these endpoints, or of those that the flags name, and closes it.
  func withConnection(
    to endpoints: [String]? = nil,
    _ body: (Connection) async throws -> Void
  ) async throws {
    let connection = try await Connection(self, endpoints: endpoints)
    do {
      try await body(connection)
    } catch {
      await connection.client.close()
      throw error
    }
    await connection.client.close()
  }
}

/// Ends of ranges.
enum KeyEnd {
  /// The first key behind all that begin with `prefix`; all keys when there is none.
  static func ofPrefix(_ prefix: [UInt8]) -> [UInt8] {
    guard let last = prefix.lastIndex(where: { $0 < 0xff }) else { return [0] }
    var end = Array(prefix[...last])
    end[last] += 1
    return end
  }

  /// What `--prefix` and `--from-key` make of a key and perhaps an end, which they exclude.
  static func span(
    _ invocation: Invocation,
    _ arguments: [String]
  ) throws -> (key: [UInt8], end: [UInt8]) {
    let flags = invocation.flags
    let isPrefix = flags.bool("prefix")
    let isOpen = flags.bool("from-key")
    if isPrefix && isOpen {
      throw Failure.badArguments(
        "`--prefix` and `--from-key` cannot be set at the same time, choose one"
      )
    }
    var key = RawText.bytes(arguments[0])
    guard isPrefix || isOpen else {
      return (key, arguments.count > 1 ? RawText.bytes(arguments[1]) : [])
    }
    guard arguments.count == 1 else {
      throw Failure.badArguments(
        "too many arguments, only accept one argument when `--prefix` or `--from-key` is set"
      )
    }
    if key.isEmpty {
      key = [0]
      return (key, [0])
    }
    return (key, isOpen ? [0] : ofPrefix(key))
  }
}
