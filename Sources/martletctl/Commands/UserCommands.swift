import Proto

/// `user ...`.
enum UserCommands {
  static let all = [
    Command(
      path: ["user", "add"],
      usage: "<user name or user:password> [options]",
      summary: "makes a user",
      flags: [
        Flag("interactive", .bool, "true", "ask for the password; else take a line of the input"),
        Flag("new-user-password", .string, "", "the password"),
        Flag("no-password", .bool, "", "the user has none, and comes by a certificate"),
      ],
      formats: .basic,
      run: add
    ),
    Command(
      path: ["user", "delete"],
      usage: "<user name>",
      summary: "deletes a user",
      formats: .basic,
      run: delete
    ),
    Command(
      path: ["user", "get"],
      usage: "<user name> [options]",
      summary: "prints the roles of a user",
      flags: [Flag("detail", .bool, "", "print what the roles may do")],
      formats: .basic,
      run: get
    ),
    Command(
      path: ["user", "list"],
      usage: "",
      summary: "prints all users",
      formats: .basic,
      run: list
    ),
    Command(
      path: ["user", "passwd"],
      usage: "<user name> [options]",
      summary: "changes a password",
      flags: [
        Flag("interactive", .bool, "true", "ask for the password; else take a line of the input")
      ],
      formats: .basic,
      run: changePassword
    ),
    Command(
      path: ["user", "grant-role"],
      usage: "<user name> <role name>",
      summary: "gives a user a role",
      formats: .basic,
      run: grantRole
    ),
    Command(
      path: ["user", "revoke-role"],
      usage: "<user name> <role name>",
      summary: "takes a role from a user",
      formats: .basic,
      run: revokeRole
    ),
  ]

  private static func name(_ invocation: Invocation) throws -> String {
    guard invocation.arguments.count == 1 else {
      let command = invocation.command.name
      throw Failure.badArguments("\(command) command requires user name as its argument")
    }
    return invocation.arguments[0]
  }

  private static func add(_ invocation: Invocation) async throws {
    let given = try name(invocation)
    let flags = invocation.flags
    var request = Etcdserverpb.AuthUserAddRequest()
    request.name = given
    if flags.bool("no-password") {
      request.options = Authpb.UserAddOptions(noPassword: true)
    } else if !flags["new-user-password"].isEmpty {
      request.password = flags["new-user-password"]
    } else if let colon = given.firstIndex(of: ":") {
      request.name = String(given[..<colon])
      request.password = String(given[given.index(after: colon)...])
      guard !request.name.isEmpty else {
        throw Failure.badArguments("empty user name is not allowed")
      }
    } else {
      request.password = try PasswordPrompt.new(
        for: given,
        isInteractive: flags.bool("interactive")
      )
    }
    let sent = request
    try await invocation.withConnection { connection in
      let response: Etcdserverpb.AuthUserAddResponse = try await connection.call(
        "Auth/UserAdd",
        sent
      )
      invocation.printer.message(response) { Streams.print("User \(sent.name) created") }
    }
  }

  private static func delete(_ invocation: Invocation) async throws {
    var request = Etcdserverpb.AuthUserDeleteRequest()
    request.name = try name(invocation)
    let sent = request
    try await invocation.withConnection { connection in
      let response: Etcdserverpb.AuthUserDeleteResponse = try await connection.call(
        "Auth/UserDelete",
        sent
      )
      invocation.printer.message(response) { Streams.print("User \(sent.name) deleted") }
    }
  }

  private static func get(_ invocation: Invocation) async throws {
    var request = Etcdserverpb.AuthUserGetRequest()
    request.name = try name(invocation)
    let sent = request
    try await invocation.withConnection { connection in
      let response: Etcdserverpb.AuthUserGetResponse = try await connection.call(
        "Auth/UserGet",
        sent,
        isRead: true
      )
      let printer = invocation.printer
      guard invocation.flags.bool("detail") else {
        printer.message(response) {
          Streams.print("User: \(sent.name)\nRoles:\(response.roles.map { " \($0)" }.joined())")
        }
        return
      }
      if printer.format == .simple { Streams.print("User: \(sent.name)") }
      for role in response.roles {
        if printer.format == .simple { Streams.print("") }
        printer.role(role, try await RoleCommands.get(role, connection))
      }
    }
  }

  private static func list(_ invocation: Invocation) async throws {
    guard invocation.arguments.isEmpty else {
      throw Failure.badArguments("user list command requires no arguments")
    }
    try await invocation.withConnection { connection in
      let response: Etcdserverpb.AuthUserListResponse = try await connection.call(
        "Auth/UserList",
        Etcdserverpb.AuthUserListRequest(),
        isRead: true
      )
      invocation.printer.message(response) { for name in response.users { Streams.print(name) } }
    }
  }

  private static func changePassword(_ invocation: Invocation) async throws {
    var request = Etcdserverpb.AuthUserChangePasswordRequest()
    request.name = try name(invocation)
    request.password = try PasswordPrompt.new(
      for: request.name,
      isInteractive: invocation.flags.bool("interactive")
    )
    let sent = request
    try await invocation.withConnection { connection in
      let response: Etcdserverpb.AuthUserChangePasswordResponse = try await connection.call(
        "Auth/UserChangePassword",
        sent
      )
      invocation.printer.message(response) { Streams.print("Password updated") }
    }
  }

  private static func grantRole(_ invocation: Invocation) async throws {
    guard invocation.arguments.count == 2 else {
      throw Failure.badArguments(
        "user grant command requires user name and role name as its argument"
      )
    }
    var request = Etcdserverpb.AuthUserGrantRoleRequest()
    request.user = invocation.arguments[0]
    request.role = invocation.arguments[1]
    let sent = request
    try await invocation.withConnection { connection in
      let response: Etcdserverpb.AuthUserGrantRoleResponse = try await connection.call(
        "Auth/UserGrantRole",
        sent
      )
      invocation.printer.message(response) {
        Streams.print("Role \(sent.role) is granted to user \(sent.user)")
      }
    }
  }

  private static func revokeRole(_ invocation: Invocation) async throws {
    guard invocation.arguments.count == 2 else {
      throw Failure.badArguments(
        "user revoke-role requires user name and role name as its argument"
      )
    }
    var request = Etcdserverpb.AuthUserRevokeRoleRequest()
    request.name = invocation.arguments[0]
    request.role = invocation.arguments[1]
    let sent = request
    try await invocation.withConnection { connection in
      let response: Etcdserverpb.AuthUserRevokeRoleResponse = try await connection.call(
        "Auth/UserRevokeRole",
        sent
      )
      invocation.printer.message(response) {
        Streams.print("Role \(sent.role) is revoked from user \(sent.name)")
      }
    }
  }
}
