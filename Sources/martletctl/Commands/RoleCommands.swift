import Proto

/// `role ...`.
enum RoleCommands {
  private static let spanFlags = [
    Flag("from-key", .bool, "", "all keys from the given one on"),
    Flag("prefix", .bool, "", "all keys that begin with the given one"),
  ]

  static let all = [
    Command(
      path: ["role", "add"],
      usage: "<role name>",
      summary: "makes a role",
      formats: .withoutTable,
      run: add
    ),
    Command(
      path: ["role", "delete"],
      usage: "<role name>",
      summary: "deletes a role",
      formats: .withoutTable,
      run: delete
    ),
    Command(
      path: ["role", "get"],
      usage: "<role name>",
      summary: "prints what a role may do",
      formats: .withoutTable,
      run: get
    ),
    Command(
      path: ["role", "list"],
      usage: "",
      summary: "prints all roles",
      formats: .withoutTable,
      run: list
    ),
    Command(
      path: ["role", "grant-permission"],
      usage: "[options] <role name> <permission type> <key> [endkey]",
      summary: "lets a role read, write or readwrite keys",
      flags: spanFlags,
      formats: .withoutTable,
      run: grantPermission
    ),
    Command(
      path: ["role", "revoke-permission"],
      usage: "<role name> <key> [endkey]",
      summary: "takes such a right back",
      flags: spanFlags,
      formats: .withoutTable,
      run: revokePermission
    ),
  ]

  private static func name(_ invocation: Invocation) throws -> String {
    guard invocation.arguments.count == 1 else {
      let command = invocation.command.name
      throw Failure.badArguments("\(command) command requires role name as its argument")
    }
    return invocation.arguments[0]
  }

  private static func add(_ invocation: Invocation) async throws {
    var request = Etcdserverpb.AuthRoleAddRequest()
    request.name = try name(invocation)
    let sent = request
    try await invocation.withConnection { connection in
      let response: Etcdserverpb.AuthRoleAddResponse = try await connection.call(
        "Auth/RoleAdd",
        sent
      )
      invocation.printer.message(response) {
        $0.header(response.header)
      } simple: {
        Streams.print("Role \(sent.name) created")
      }
    }
  }

  private static func delete(_ invocation: Invocation) async throws {
    var request = Etcdserverpb.AuthRoleDeleteRequest()
    request.role = try name(invocation)
    let sent = request
    try await invocation.withConnection { connection in
      let response: Etcdserverpb.AuthRoleDeleteResponse = try await connection.call(
        "Auth/RoleDelete",
        sent
      )
      invocation.printer.message(response) {
        $0.header(response.header)
      } simple: {
        Streams.print("Role \(sent.role) deleted")
      }
    }
  }

  static func get(
    _ name: String,
    _ connection: Connection
  ) async throws -> Etcdserverpb.AuthRoleGetResponse {
    var request = Etcdserverpb.AuthRoleGetRequest()
    request.role = name
    return try await connection.call("Auth/RoleGet", request, isRead: true)
  }

  private static func get(_ invocation: Invocation) async throws {
    let name = try name(invocation)
    try await invocation.withConnection { connection in
      invocation.printer.role(name, try await get(name, connection))
    }
  }

  private static func list(_ invocation: Invocation) async throws {
    guard invocation.arguments.isEmpty else {
      throw Failure.badArguments("role list command requires no arguments")
    }
    try await invocation.withConnection { connection in
      let response: Etcdserverpb.AuthRoleListResponse = try await connection.call(
        "Auth/RoleList",
        Etcdserverpb.AuthRoleListRequest(),
        isRead: true
      )
      invocation.printer.message(response) {
        $0.header(response.header)
        $0.addRoles(response.roles)
      } simple: {
        for name in response.roles { Streams.print(name) }
      }
    }
  }

  /// The keys that arguments and flags name.
  private static func span(
    _ invocation: Invocation,
    _ arguments: ArraySlice<String>
  ) throws -> (key: [UInt8], end: [UInt8]) {
    let isPrefix = invocation.flags.bool("prefix")
    let isOpen = invocation.flags.bool("from-key")
    if isPrefix && isOpen {
      throw Failure.badArguments("--from-key and --prefix flags are mutually exclusive")
    }
    let key = RawText.bytes(arguments.first ?? "")
    if arguments.count > 1 {
      if isPrefix {
        throw Failure.badArguments("unexpected endkey argument with --prefix flag")
      }
      if isOpen {
        throw Failure.badArguments("unexpected endkey argument with --from-key flag")
      }
      return (key.isEmpty ? [0] : key, RawText.bytes(arguments[arguments.startIndex + 1]))
    }
    if key.isEmpty { return ([0], isPrefix || isOpen ? [0] : []) }
    return (key, isPrefix ? KeyEnd.ofPrefix(key) : isOpen ? [0] : [])
  }

  private static func grantPermission(_ invocation: Invocation) async throws {
    let arguments = invocation.arguments
    guard arguments.count >= 3 else {
      throw Failure.badArguments(
        "role grant command requires role name, permission type, and key [endkey] as its argument"
      )
    }
    var permission = Authpb.Permission()
    switch arguments[1].uppercased() {
    case "READ": permission.permType = .read
    case "WRITE": permission.permType = .write
    case "READWRITE": permission.permType = .readwrite
    default: throw Failure.badArguments("invalid permission type: \(arguments[1])")
    }
    (permission.key, permission.rangeEnd) = try span(invocation, arguments[2...])
    var request = Etcdserverpb.AuthRoleGrantPermissionRequest()
    request.name = arguments[0]
    request.perm = permission
    let sent = request
    try await invocation.withConnection { connection in
      let response: Etcdserverpb.AuthRoleGrantPermissionResponse = try await connection.call(
        "Auth/RoleGrantPermission",
        sent
      )
      invocation.printer.message(response) {
        $0.header(response.header)
      } simple: {
        Streams.print("Role \(sent.name) updated")
      }
    }
  }

  private static func revokePermission(_ invocation: Invocation) async throws {
    let arguments = invocation.arguments
    guard arguments.count >= 2 else {
      throw Failure.badArguments(
        "role revoke-permission command requires role name and key [endkey] as its argument"
      )
    }
    var request = Etcdserverpb.AuthRoleRevokePermissionRequest()
    request.role = arguments[0]
    (request.key, request.rangeEnd) = try span(invocation, arguments[1...])
    let sent = request
    try await invocation.withConnection { connection in
      let response: Etcdserverpb.AuthRoleRevokePermissionResponse = try await connection.call(
        "Auth/RoleRevokePermission",
        sent
      )
      invocation.printer.message(response) {
        $0.header(response.header)
      } simple: {
        let end = RawText.text(sent.rangeEnd)
        let keys =
          switch sent.rangeEnd {
          case []: "key \(arguments[1])"
          case [0]: "range [\(arguments[1]), <open ended>"
          default: "range [\(arguments[1]), \(end))"
          }
        Streams.print("Permission of \(keys) is revoked from role \(sent.role)")
      }
    }
  }
}
