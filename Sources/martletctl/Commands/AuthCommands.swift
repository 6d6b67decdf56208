import MartletClient
import Proto

/// `auth ...`.
enum AuthCommands {
  static let all = [
    Command(
      path: ["auth", "enable"],
      usage: "",
      summary: "lets only known users in from now on",
      run: enable
    ),
    Command(
      path: ["auth", "disable"],
      usage: "",
      summary: "lets everybody in again",
      run: disable
    ),
    Command(
      path: ["auth", "status"],
      usage: "",
      summary: "prints whether users are asked who they are",
      formats: .withoutTable,
      run: status
    ),
  ]

  private static func checkNoArguments(_ invocation: Invocation) throws {
    guard invocation.arguments.isEmpty else {
      let name = invocation.command.name
      throw Failure.badArguments("\(name) command does not accept any arguments")
    }
  }

  private static func enable(_ invocation: Invocation) async throws {
    try checkNoArguments(invocation)
    try await invocation.withConnection { connection in
      do throws(ClientError) {
        try await enable(connection)
      } catch {
        guard error.code == .rootRoleMissing else { throw error }
        // The user root is there, without its role.
        try await makeRootRole(connection)
        try await enable(connection)
      }
      Streams.print("Authentication Enabled")
    }
  }

  private static func enable(_ connection: Connection) async throws(ClientError) {
    let _: Etcdserverpb.AuthEnableResponse = try await connection.call(
      "Auth/AuthEnable",
      Etcdserverpb.AuthEnableRequest()
    )
  }

  private static func makeRootRole(_ connection: Connection) async throws(ClientError) {
    do throws(ClientError) {
      var request = Etcdserverpb.AuthRoleAddRequest()
      request.name = "root"
      let _: Etcdserverpb.AuthRoleAddResponse = try await connection.call("Auth/RoleAdd", request)
    } catch {
      guard error.code == .roleExists else { throw error }
    }
    var request = Etcdserverpb.AuthUserGrantRoleRequest()
    request.user = "root"
    request.role = "root"
    let _: Etcdserverpb.AuthUserGrantRoleResponse = try await connection.call(
      "Auth/UserGrantRole",
      request
    )
  }

  private static func disable(_ invocation: Invocation) async throws {
    try checkNoArguments(invocation)
    try await invocation.withConnection { connection in
      let _: Etcdserverpb.AuthDisableResponse = try await connection.call(
        "Auth/AuthDisable",
        Etcdserverpb.AuthDisableRequest()
      )
      Streams.print("Authentication Disabled")
    }
  }

  private static func status(_ invocation: Invocation) async throws {
    try checkNoArguments(invocation)
    try await invocation.withConnection { connection in
      let response: Etcdserverpb.AuthStatusResponse = try await connection.call(
        "Auth/AuthStatus",
        Etcdserverpb.AuthStatusRequest(),
        isRead: true
      )
      invocation.printer.message(response) {
        $0.header(response.header)
        $0.add("Enabled", response.enabled)
        $0.add("AuthRevision", response.authRevision)
      } simple: {
        Streams.print("Authentication Status: \(response.enabled)")
        Streams.print("AuthRevision: \(response.authRevision)")
      }
    }
  }
}
