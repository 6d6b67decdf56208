import Proto

/// `member ...`.
enum MemberCommands {
  static let all = [
    Command(
      path: ["member", "add"],
      usage: "<memberName> [options]",
      summary: "makes room for a new member",
      flags: [
        Flag("learner", .bool, "", "it gets the log, but has no vote"),
        Flag("peer-urls", .list, "", "where the other members reach it"),
      ],
      formats: .basic,
      run: add
    ),
    Command(
      path: ["member", "remove"],
      usage: "<memberID>",
      summary: "takes a member out of the cluster",
      formats: .basic,
      run: remove
    ),
    Command(
      path: ["member", "update"],
      usage: "<memberID> [options]",
      summary: "changes where the others reach a member",
      flags: [Flag("peer-urls", .list, "", "where the other members reach it")],
      formats: .basic,
      run: update
    ),
    Command(
      path: ["member", "promote"],
      usage: "<memberID>",
      summary: "gives a learner a vote",
      formats: .basic,
      run: promote
    ),
    Command(path: ["member", "list"], usage: "", summary: "prints all members", run: list),
  ]

  private static func id(_ invocation: Invocation) throws -> UInt64 {
    guard invocation.arguments.count == 1 else {
      throw Failure.badArguments("member ID is not provided")
    }
    let parsed = GoText.parseUnsigned(invocation.arguments[0], radix: 16)
    if let objection = parsed.objection {
      throw Failure.badArguments("bad member ID arg (\(objection)), expecting ID in Hex")
    }
    return parsed.value ?? 0
  }

  private static func peerURLs(_ invocation: Invocation) throws -> [String] {
    let urls = invocation.flags.list("peer-urls")
    guard !urls.isEmpty else { throw Failure.badArguments("member peer urls not provided") }
    return urls
  }

  private static func sentence(
    _ id: UInt64,
    _ verb: String,
    _ header: Etcdserverpb.ResponseHeader?
  ) -> String {
    "Member \(padded(id)) \(verb) cluster \(padded(header?.clusterID ?? 0))"
  }

  /// With blanks before a short ID.
  private static func padded(_ id: UInt64) -> String {
    let digits = String(id, radix: 16)
    return String(repeating: " ", count: 16 - digits.count) + digits
  }

  private static func add(_ invocation: Invocation) async throws {
    guard let name = invocation.arguments.first else {
      throw Failure.badArguments("member name not provided")
    }
    guard invocation.arguments.count == 1 else { throw Failure.badArguments("too many arguments") }
    var request = Etcdserverpb.MemberAddRequest()
    request.peerURLs = try peerURLs(invocation)
    request.isLearner = invocation.flags.bool("learner")
    for url in request.peerURLs {
      let schemes = ["http://", "https://", "unix://", "unixs://"]
      guard schemes.contains(where: { url.hasPrefix($0) }) else {
        throw Failure(.error, "URL scheme must be http, https, unix, or unixs: \(url)")
      }
    }
    let sent = request
    try await invocation.withConnection { connection in
      let response: Etcdserverpb.MemberAddResponse = try await connection.call(
        "Cluster/MemberAdd",
        sent
      )
      invocation.printer.message(response) {
        let member = response.member ?? Etcdserverpb.Member()
        let cluster = response.members.flatMap { other in
          other.peerURLs.map { "\(other.id == member.id ? name : other.name)=\($0)" }
        }
        Streams.print(sentence(member.id, "added to", response.header) + "\n")
        Streams.print("ETCD_NAME=\(GoText.quoted(name))")
        Streams.print("ETCD_INITIAL_CLUSTER=\(GoText.quoted(cluster.joined(separator: ",")))")
        let urls = member.peerURLs.joined(separator: ",")
        Streams.print("ETCD_INITIAL_ADVERTISE_PEER_URLS=\(GoText.quoted(urls))")
        Streams.print("ETCD_INITIAL_CLUSTER_STATE=\"existing\"")
      }
    }
  }

  private static func remove(_ invocation: Invocation) async throws {
    var request = Etcdserverpb.MemberRemoveRequest()
    request.id = try id(invocation)
    let sent = request
    try await invocation.withConnection { connection in
      let response: Etcdserverpb.MemberRemoveResponse = try await connection.call(
        "Cluster/MemberRemove",
        sent
      )
      invocation.printer.message(response) {
        Streams.print(sentence(sent.id, "removed from", response.header))
      }
    }
  }

  private static func update(_ invocation: Invocation) async throws {
    var request = Etcdserverpb.MemberUpdateRequest()
    request.id = try id(invocation)
    request.peerURLs = try peerURLs(invocation)
    let sent = request
    try await invocation.withConnection { connection in
      let response: Etcdserverpb.MemberUpdateResponse = try await connection.call(
        "Cluster/MemberUpdate",
        sent
      )
      invocation.printer.message(response) {
        Streams.print(sentence(sent.id, "updated in", response.header))
      }
    }
  }

  private static func promote(_ invocation: Invocation) async throws {
    var request = Etcdserverpb.MemberPromoteRequest()
    request.id = try id(invocation)
    let sent = request
    try await invocation.withConnection { connection in
      let response: Etcdserverpb.MemberPromoteResponse = try await connection.call(
        "Cluster/MemberPromote",
        sent
      )
      invocation.printer.message(response) {
        Streams.print(sentence(sent.id, "promoted in", response.header))
      }
    }
  }

  private static func list(_ invocation: Invocation) async throws {
    try await invocation.withConnection { connection in
      invocation.printer.members(try await connection.members())
    }
  }
}
