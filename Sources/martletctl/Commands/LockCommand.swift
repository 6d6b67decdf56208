import MartletClient
import Proto

/// `lock`.
enum LockCommand {
  static let all = [
    Command(
      path: ["lock"],
      usage: "<lockname> [exec-command arg1 arg2 ...]",
      summary: "takes a lock until it is interrupted, or while a command runs",
      flags: [Flag("ttl", .integer, "10", "seconds that the lock outlives this program at most")],
      formats: .withoutTable,
      takesFiles: true,
      run: run
    )
  ]

  private static func run(_ invocation: Invocation) async throws {
    guard let name = invocation.arguments.first else {
      throw Failure.badArguments(
        "lock takes a lock name argument and an optional command to execute"
      )
    }
    let command = Array(invocation.arguments.dropFirst())
    let ttl = Duration.seconds(max(1, invocation.flags.integer("ttl")))
    let interruption = Interruption()
    try await invocation.withConnection { connection in
      try await interruption.cancelling {
        try await hold(name, ttl, command, invocation, connection, interruption)
      }
    }
  }

  private static func hold(
    _ name: String,
    _ ttl: Duration,
    _ command: [String],
    _ invocation: Invocation,
    _ connection: Connection,
    _ interruption: Interruption
  ) async throws {
    try await connection.client.withLease(ttl: ttl) { lease in
      let held = try await connection.client.locks.lock(RawText.bytes(name), lease: lease.id)
      guard command.isEmpty else {
        let end = try await ChildProcess.run(
          command,
          environment: [
            "ETCD_LOCK_KEY=\(RawText.text(held.key))",
            "ETCD_LOCK_REV=\(held.fencingToken)",
          ]
        )
        if let failure = end.failure { throw Failure(status: end.status, failure) }
        return
      }
      try await Holding.show(held.key, invocation, connection)
      try await Holding.wait(lease, interruption)
    }
  }
}

/// What `lock` and `elect` do while they have what they wanted.
enum Holding {
  static func show(
    _ key: [UInt8],
    _ invocation: Invocation,
    _ connection: Connection
  ) async throws {
    let request = Etcdserverpb.RangeRequest(key: key, rangeEnd: [])
    invocation.printer.get(try await connection.range(request))
  }

  /// Returns when a signal has come; throws when the lease is lost.
  static func wait(_ lease: HeldLease, _ interruption: Interruption) async throws {
    await interruption.wait()
    if !interruption.hasCome, lease.isLost { throw Failure(.error, "session expired") }
  }
}
