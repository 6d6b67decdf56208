import MartletClient
import Proto

/// `lease ...`.
enum LeaseCommands {
  static let all = [
    Command(
      path: ["lease", "grant"],
      usage: "<ttl>",
      summary: "makes a lease of so many seconds",
      formats: .withoutTable,
      run: grant
    ),
    Command(
      path: ["lease", "revoke"],
      usage: "<leaseID>",
      summary: "ends a lease, and with it its keys",
      formats: .withoutTable,
      run: revoke
    ),
    Command(
      path: ["lease", "timetolive"],
      usage: "<leaseID> [options]",
      summary: "prints what is left of a lease",
      flags: [Flag("keys", .bool, "", "print the keys that hang on it too")],
      formats: .withoutTable,
      run: timeToLive
    ),
    Command(
      path: ["lease", "list"],
      usage: "",
      summary: "prints all leases",
      formats: .withoutTable,
      run: list
    ),
    Command(
      path: ["lease", "keep-alive"],
      usage: "[options] <leaseID>",
      summary: "renews a lease until it is interrupted",
      flags: [Flag("once", .bool, "", "renew it once")],
      formats: .withoutTable,
      run: keepAlive
    ),
  ]

  private static let retryPause = Duration.milliseconds(500)

  private static func id(_ text: String) throws -> Int64 {
    let parsed = GoText.parseInteger(text, radix: 16)
    if let objection = parsed.objection {
      throw Failure.badArguments("bad lease ID arg (\(objection)), expecting ID in Hex")
    }
    return parsed.value ?? 0
  }

  private static func grant(_ invocation: Invocation) async throws {
    guard invocation.arguments.count == 1 else {
      throw Failure.badArguments("lease grant command needs TTL argument")
    }
    let ttl = GoText.parseInteger(invocation.arguments[0], radix: 10)
    if let objection = ttl.objection { throw Failure.badArguments("bad TTL (\(objection))") }
    let request = Etcdserverpb.LeaseGrantRequest(ttl: ttl.value ?? 0)
    try await invocation.withConnection { connection in
      let response: Etcdserverpb.LeaseGrantResponse
      do throws(ClientError) {
        response = try await connection.call("Lease/LeaseGrant", request)
      } catch {
        throw Failure(error).prefixed("failed to grant lease (")
      }
      invocation.printer.grant(response)
    }
  }

  private static func revoke(_ invocation: Invocation) async throws {
    guard invocation.arguments.count == 1 else {
      throw Failure.badArguments("lease revoke command needs 1 argument")
    }
    let id = try id(invocation.arguments[0])
    try await invocation.withConnection { connection in
      let response: Etcdserverpb.LeaseRevokeResponse
      do throws(ClientError) {
        let request = Etcdserverpb.LeaseRevokeRequest(id: id)
        response = try await connection.call("Lease/LeaseRevoke", request)
      } catch {
        throw Failure(error).prefixed("failed to revoke lease (")
      }
      invocation.printer.message(response) {
        $0.header(response.header)
      } simple: {
        Streams.print("lease \(GoText.hex16(UInt64(bitPattern: id))) revoked")
      }
    }
  }

  private static func timeToLive(_ invocation: Invocation) async throws {
    guard invocation.arguments.count == 1 else {
      throw Failure.badArguments("lease timetolive command needs lease ID as argument")
    }
    let id = try id(invocation.arguments[0])
    let request = Etcdserverpb.LeaseTimeToLiveRequest(id: id, keys: invocation.flags.bool("keys"))
    try await invocation.withConnection { connection in
      var response = Etcdserverpb.LeaseTimeToLiveResponse()
      do throws(ClientError) {
        response = try await connection.call("Lease/LeaseTimeToLive", request, isRead: true)
      } catch {
        // Old servers say it so, new ones by a time of -1.
        guard error.code == .leaseNotFound else { throw error }
        response.id = id
        response.ttl = -1
      }
      invocation.printer.timeToLive(response, showsKeys: request.keys)
    }
  }

  private static func list(_ invocation: Invocation) async throws {
    try await invocation.withConnection { connection in
      let request = Etcdserverpb.LeaseLeasesRequest()
      invocation.printer.leases(
        try await connection.call("Lease/LeaseLeases", request, isRead: true)
      )
    }
  }

  private static func keepAlive(_ invocation: Invocation) async throws {
    guard invocation.arguments.count == 1 else {
      throw Failure.badArguments("lease keep-alive command needs lease ID as argument")
    }
    let id = try id(invocation.arguments[0])
    let isOnce = invocation.flags.bool("once")
    try await invocation.withConnection { connection in
      var end = ContinuousClock().now
      while true {
        let renewal: Etcdserverpb.LeaseKeepAliveResponse
        do throws(ClientError) {
          renewal = try await connection.client.renewLease(id, deadline: connection.timeout)
        } catch {
          if isOnce { throw Failure(error, .badConnection) }
          if error.code == .leaseNotFound {
            let text = GoText.hex16(UInt64(bitPattern: id))
            Streams.print("lease \(text) expired or revoked.")
            return
          }
          // Who is away now may be back before the lease ends.
          let mayComeBack = error.code == .unavailable || error.code == .deadlineExceeded
          guard mayComeBack, ContinuousClock().now < end else { throw error }
          Streams.warn("the lease is not renewed (\(error.goText)); trying again")
          try await Task.sleep(for: retryPause)
          continue
        }
        end = ContinuousClock().now + .seconds(renewal.ttl)
        invocation.printer.keepAlive(renewal)
        if isOnce { return }
        try await Task.sleep(for: max(.seconds(renewal.ttl) / 3, .milliseconds(500)))
      }
    }
  }
}

extension Failure {
  /// The same with words before, and the bracket behind that they open.
  func prefixed(_ words: String) -> Failure {
    var failure = self
    failure.message = message.map { words + $0 + (words.hasSuffix("(") ? ")" : "") }
    return failure
  }
}
