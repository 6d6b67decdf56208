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
        throw Failure.badArguments("no endpoint is given")
      }
      return endpoints.filter { !$0.isEmpty }
    }
    let suffix = flags["discovery-srv-name"].isEmpty ? "" : "-\(flags["discovery-srv-name"])"
    var endpoints: [String] = []
    var reasons: [String] = []
    for (service, scheme) in [("etcd-client-ssl", "https"), ("etcd-client", "http")] {
      let name = "_\(service)\(suffix)._tcp.\(domain)"
      do {
        let records = try await ServiceLookup.records(of: name, server: "")
        if records.isEmpty { reasons.append("lookup \(name): no such host") }
        endpoints += records.map { "\(scheme)://\($0.target):\($0.port)" }
      } catch {
        reasons.append("lookup \(name): \(error)")
      }
    }
    if !flags.bool("insecure-discovery") { endpoints.removeAll { !$0.hasPrefix("https://") } }
    guard !endpoints.isEmpty else {
      throw Failure(.error, "dns lookup errors: \(reasons.joined(separator: " and "))")
    }
    return endpoints
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
