import Base
import MartletClient
import Proto

/// `alarm ...`, `defrag`, `move-leader` and `version`.
enum MaintenanceCommands {
  static let all = [
    Command(
      path: ["alarm", "list"],
      usage: "",
      summary: "prints the alarms",
      formats: .withoutTable
    ) { try await alarm($0, .get) },
    Command(
      path: ["alarm", "disarm"],
      usage: "",
      summary: "ends all alarms",
      formats: .withoutTable
    ) { try await alarm($0, .deactivate) },
    Command(
      path: ["defrag"],
      usage: "",
      summary: "gives space that databases have freed back to the file system",
      flags: [
        Flag("cluster", .bool, "", "all members of the cluster"),
        Flag("data-dir", "the data directory of a member that is not running", values: .files),
      ],
      run: defragment
    ),
    Command(
      path: ["move-leader"],
      usage: "<transferee-member-id>",
      summary: "makes another member the leader",
      formats: .basic,
      run: moveLeader
    ),
    Command(path: ["version"], usage: "", summary: "prints the version", formats: .unchecked) { _ in
      let api = Release.etcdCompatible.split(separator: ".").prefix(2).joined(separator: ".")
      Streams.print("martletctl version: \(Release.martlet)\nAPI version: \(api)")
    },
  ]

  private static func alarm(
    _ invocation: Invocation,
    _ action: Etcdserverpb.AlarmRequest.AlarmAction
  ) async throws {
    guard invocation.arguments.isEmpty else {
      throw Failure.badArguments("alarm \(invocation.command.path[1]) command accepts no arguments")
    }
    var request = Etcdserverpb.AlarmRequest()
    request.action = action
    let sent = request
    try await invocation.withConnection { connection in
      if action == .get {
        invocation.printer.alarms(
          try await connection.call("Maintenance/Alarm", sent, isRead: true)
        )
      } else {
        invocation.printer.alarms(try await disarm(connection))
      }
    }
  }

  /// Members are disarmed one by one: a request without a member means none to old servers.
  private static func disarm(_ connection: Connection) async throws -> Etcdserverpb.AlarmResponse {
    let active: Etcdserverpb.AlarmResponse = try await connection.call(
      "Maintenance/Alarm",
      Etcdserverpb.AlarmRequest(),
      isRead: true
    )
    var result = Etcdserverpb.AlarmResponse()
    for alarm in active.alarms {
      var request = Etcdserverpb.AlarmRequest()
      request.action = .deactivate
      request.memberID = alarm.memberID
      request.alarm = alarm.alarm
      let response: Etcdserverpb.AlarmResponse = try await connection.call(
        "Maintenance/Alarm",
        request
      )
      result.alarms += response.alarms
    }
    return result
  }

  private static func defragment(_ invocation: Invocation) async throws {
    if !invocation.flags["data-dir"].isEmpty {
      try OfflineTool.replace(with: ["defrag", "--data-dir", invocation.flags["data-dir"]])
    }
    let endpoints = try await Connection.endpoints(of: invocation)
    let connection = try await Connection(invocation, endpoints: endpoints)
    var hasFailed = false
    for endpoint in endpoints {
      do throws(ClientError) {
        let _: Etcdserverpb.DefragmentResponse = try await connection.call(
          "Maintenance/Defragment",
          Etcdserverpb.DefragmentRequest(),
          at: endpoint
        )
        Streams.print("Finished defragmenting etcd member[\(endpoint)]")
      } catch {
        Streams.warn("Failed to defragment etcd member[\(endpoint)] (\(error.goText))")
        hasFailed = true
      }
    }
    await connection.client.close()
    if hasFailed { throw Failure(.error, nil) }
  }

  private static func moveLeader(_ invocation: Invocation) async throws {
    guard invocation.arguments.count == 1 else {
      throw Failure.badArguments("move-leader command needs 1 argument")
    }
    let target = GoText.parseUnsigned(invocation.arguments[0], radix: 16)
    if let objection = target.objection { throw Failure.badArguments(objection) }
    let endpoints = try await Connection.endpoints(invocation.flags)
    try await invocation.withConnection(to: endpoints) { connection in
      for endpoint in endpoints {
        let status = try await connection.status(endpoint)
        guard let own = status.header?.memberID, status.leader == own else { continue }
        var request = Etcdserverpb.MoveLeaderRequest()
        request.targetID = target.value ?? 0
        let response: Etcdserverpb.MoveLeaderResponse = try await connection.call(
          "Maintenance/MoveLeader",
          request,
          at: endpoint
        )
        invocation.printer.message(response) {
          let from = String(own, radix: 16)
          let to = String(request.targetID, radix: 16)
          Streams.print("Leadership transferred from \(from) to \(to)")
        }
        return
      }
      throw Failure.badArguments(
        "no leader endpoint given at [\(endpoints.joined(separator: " "))]"
      )
    }
  }
}

extension Printer {
  func alarms(_ response: Etcdserverpb.AlarmResponse) {
    message(response) { text in
      text.header(response.header)
      for alarm in response.alarms {
        text.add("MemberID", alarm.memberID)
        text.add("AlarmType", alarm.alarm.description)
        text.blank()
      }
    } simple: {
      for alarm in response.alarms {
        print("memberID:\(alarm.memberID) alarm:\(alarm.alarm.description) ")
      }
    }
  }
}
