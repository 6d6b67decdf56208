import Discovery
import MartletClient
import Proto

/// A client as the global flags describe it.
struct Connection: Sendable {
  let client: Client
  /// How long one call may take.
  let timeout: Duration

  /// Throws `Failure` for flags that cannot be used.
  init(_ invocation: Invocation, endpoints: [String]? = nil) async throws {
    let flags = invocation.flags
    var settings = ConnectionSettings()
    if let endpoints {
      settings.endpoints = endpoints
    } else {
      settings.endpoints = try await Self.endpoints(flags)
    }
    settings.authoritiesFile = flags["cacert"]
    settings.certificateFile = flags["cert"]
    settings.keyFile = flags["key"]
    if !flags.bool("insecure-discovery") { settings.serverName = flags["discovery-srv"] }
    settings.skipsVerification = flags.bool("insecure-skip-tls-verify")
    settings.mayBePlain = flags.bool("insecure-transport")
    settings.credentials = try Self.credentials(user: flags["user"], password: flags["password"])
    settings.connectTimeout = flags.duration("dial-timeout")
    settings.keepaliveInterval = max(flags.duration("keepalive-time"), .seconds(10))
    settings.keepaliveTimeout = flags.duration("keepalive-timeout")
    settings.deadline = invocation.timeout
    settings.isDebugging = flags.bool("debug")
    client = try settings.client()
    timeout = invocation.timeout
  }

  init(client: Client, timeout: Duration) {
    self.client = client
    self.timeout = timeout
  }

  /// The endpoints that the flags name, or the records of a domain.
  static func endpoints(_ flags: FlagValues) async throws -> [String] {
    let domain = flags["discovery-srv"]
    guard !domain.isEmpty else {
      let endpoints = flags.list("endpoints").map { $0.filter { !$0.isWhitespace } }
      guard endpoints.contains(where: { !$0.isEmpty }) else {
        throw Failure(.badConnection, "etcdclient: no available endpoints")
      }
      return endpoints.filter { !$0.isEmpty }
    }
    let found: [ClientServices.Endpoint]
    do {
      found = try await ClientServices.endpoints(
        of: domain,
        serviceName: flags["discovery-srv-name"]
      )
    } catch let nothing as ClientServices.NothingFound {
      throw Failure(.error, nothing.description)
    }
    guard !flags.bool("insecure-discovery") else { return found.map(\.url) }
    for endpoint in found where !endpoint.isSecure {
      Streams.warn("ignoring discovered insecure endpoint \(GoText.quoted(endpoint.url))")
    }
    let secure = found.filter(\.isSecure).map(\.url)
    guard !secure.isEmpty else { throw Failure(.error, "\(domain) names no secure endpoint") }
    return secure
  }

  static func credentials(
    user: String,
    password: String,
    prompt: String = "Password: "
  ) throws -> ClientConfiguration.Credentials? {
    guard !user.isEmpty else { return nil }
    if !password.isEmpty { return .init(username: user, password: password) }
    if let colon = user.firstIndex(of: ":") {
      let password = String(user[user.index(after: colon)...])
      return .init(username: String(user[..<colon]), password: password)
    }
    return .init(username: user, password: try PasswordPrompt.once(prompt))
  }

  func call<Request: Message, Response: Message>(
    _ method: StaticString,
    _ request: Request,
    isRead: Bool = false,
    at endpoint: String? = nil
  ) async throws(ClientError) -> Response {
    try await client.call(method, request, isRead: isRead, at: endpoint, deadline: timeout)
  }

  func range(
    _ request: Etcdserverpb.RangeRequest,
    at endpoint: String? = nil
  ) async throws(ClientError) -> Etcdserverpb.RangeResponse {
    try await call("KV/Range", request, isRead: true, at: endpoint)
  }

  func put(_ request: Etcdserverpb.PutRequest) async throws(ClientError) -> Etcdserverpb.PutResponse
  {
    try await call("KV/Put", request)
  }

  func deleteRange(
    _ request: Etcdserverpb.DeleteRangeRequest
  ) async throws(ClientError) -> Etcdserverpb.DeleteRangeResponse {
    try await call("KV/DeleteRange", request)
  }

  func txn(_ request: Etcdserverpb.TxnRequest) async throws(ClientError) -> Etcdserverpb.TxnResponse
  {
    try await call("KV/Txn", request)
  }

  func status(_ endpoint: String?) async throws(ClientError) -> Etcdserverpb.StatusResponse {
    try await call("Maintenance/Status", Etcdserverpb.StatusRequest(), isRead: true, at: endpoint)
  }

  func members() async throws(ClientError) -> Etcdserverpb.MemberListResponse {
    var request = Etcdserverpb.MemberListRequest()
    request.linearizable = true
    return try await call("Cluster/MemberList", request, isRead: true)
  }

  /// The endpoints that were given, or with `--cluster` those that the members publish.
  static func endpoints(of invocation: Invocation) async throws -> [String] {
    let given = try await endpoints(invocation.flags)
    guard invocation.flags.bool("cluster") else { return given }
    let connection = try await Connection(invocation, endpoints: given)
    let members = try await connection.members().members
    await connection.client.close()
    var seen: Set<String> = []
    return members.flatMap(\.clientURLs).filter { seen.insert($0).inserted }
  }
}
