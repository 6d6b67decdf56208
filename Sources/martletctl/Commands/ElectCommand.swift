import MartletClient

/// `elect`.
enum ElectCommand {
  static let all = [
    Command(
      path: ["elect"],
      usage: "<election-name> [proposal]",
      summary: "stands for election until it is interrupted, or watches who is elected",
      flags: [Flag("listen", short: "l", .bool, "", "only watch")],
      formats: .withoutTable,
      run: run
    )
  ]

  /// How long a leadership outlives this program.
  private static let ttl = Duration.seconds(60)

  private static func run(_ invocation: Invocation) async throws {
    let arguments = invocation.arguments
    guard (1...2).contains(arguments.count) else {
      throw Failure.badArguments(
        "elect takes one election name argument and an optional proposal argument"
      )
    }
    let isListening = invocation.flags.bool("listen")
    if arguments.count == 1, !isListening {
      throw Failure.badArguments("no proposal argument but -l not set")
    }
    if arguments.count == 2, isListening {
      throw Failure.badArguments("proposal given but -l is set")
    }
    let interruption = Interruption()
    try await invocation.withConnection { connection in
      try await interruption.cancelling {
        if isListening {
          try await observe(arguments[0], invocation, connection)
        } else {
          try await campaign(arguments[0], arguments[1], invocation, connection, interruption)
        }
      }
    }
  }

  private static func observe(
    _ name: String,
    _ invocation: Invocation,
    _ connection: Connection
  ) async throws {
    do {
      for try await leader in connection.client.elections.observe(RawText.bytes(name)) {
        try await Holding.show(leader.key, invocation, connection)
      }
    } catch let error as ClientError where error.code == .canceled {
      // By a signal: that is how it ends.
    }
  }

  private static func campaign(
    _ name: String,
    _ proposal: String,
    _ invocation: Invocation,
    _ connection: Connection,
    _ interruption: Interruption
  ) async throws {
    try await connection.client.withLease(ttl: ttl) { lease in
      let leadership = try await connection.client.elections.campaign(
        RawText.bytes(name),
        value: RawText.bytes(proposal),
        lease: lease.id
      )
      try await Holding.show(leadership.key.key, invocation, connection)
      try await Holding.wait(lease, interruption)
    }
  }
}
