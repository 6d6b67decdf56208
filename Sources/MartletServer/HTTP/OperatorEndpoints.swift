import Base
import CoreMetrics
import Logging
import Membership
import Prometheus
import RPC
import Replica

/// The plain HTTP endpoints of the client port: /health, /livez, /readyz, /version,
/// /metrics and /config/local/log.
struct OperatorEndpoints: HTTPHandler {
  let member: MemberContext
  let metrics: MetricsPage
  /// None when the member's log is somebody else's.
  let logLevel: LogLevelEndpoint?

  func respond(to request: HTTPRequest) async -> HTTPResponse {
    if let logLevel, request.path == "/config/local/log" { return logLevel.respond(to: request) }
    guard request.method == "GET" || request.method == "HEAD" else {
      return HTTPResponse(
        status: 405,
        headers: [("allow", "GET, HEAD"), ("content-type", "text/plain")],
        body: .bytes(Array("Method Not Allowed\n".utf8))
      )
    }
    var response = await answer(request)
    if request.method == "HEAD" { response.body = .bytes([]) }
    return response
  }

  private func answer(_ request: HTTPRequest) async -> HTTPResponse {
    let query = Query(request.query)
    let parts = request.path.split(separator: "/", omittingEmptySubsequences: true).map(String.init)
    switch parts.first {
    case "health" where parts.count == 1:
      return await health(query)
    case "livez" where parts.count <= 2:
      return await probe("livez", [.serializableRead], only: parts.dropFirst().first, query)
    case "readyz" where parts.count <= 2:
      return await probe(
        "readyz",
        [.dataCorruption, .serializableRead, .linearizableRead],
        only: parts.dropFirst().first,
        query
      )
    case "version" where parts.count == 1:
      return json(
        200,
        #"{"etcdserver":"\#(Version.etcdCompatible)","etcdcluster":"\#(clusterVersion)","#
          + #""storage":"\#(Version.storage)"}"#
      )
    case "metrics" where parts.count == 1:
      return HTTPResponse(
        status: 200,
        text: await metrics.text(),
        contentType: Exposition.contentType
      )
    default:
      return HTTPResponse(status: 404, text: "404 page not found\n")
    }
  }

  /// As etcd names it. A lone member decides by itself.
  private var clusterVersion: String {
    let members = member.status.memberList
    if !members.clusterVersion.isEmpty { return "\(members.clusterVersion).0" }
    return members.members.count > 1 ? "not_decided" : Version.etcdCompatible
  }

  private func json(_ status: Int, _ text: String) -> HTTPResponse {
    HTTPResponse(status: status, text: text, contentType: "application/json")
  }

  /// /health: whether no alarm is raised, those in `exclude` apart, and a read succeeds, a
  /// linearizable one unless `serializable=true`.
  private func health(_ query: Query) async -> HTTPResponse {
    let check: Check = query["serializable"] == "true" ? .serializableRead : .linearizableRead
    var failure = alarmFailure(excluding: Set(query.all("exclude")))
    if failure == nil { failure = await check.failure(of: member) }
    if let reason = failure {
      member.metrics.healthFailures.increment()
      return json(503, #"{"health":"false","reason":"\#(reason)"}"#)
    }
    member.metrics.healthSuccesses.increment()
    return json(200, #"{"health":"true","reason":""}"#)
  }

  /// The first alarm that nobody asked to leave out, as etcd names it.
  private func alarmFailure(excluding excluded: Set<String>) -> String? {
    let alarms = member.status.alarms.alarms.map { "\($0.type)" }
    return alarms.first { !excluded.contains($0) }.map {
      ["NOSPACE", "CORRUPT"].contains($0) ? "ALARM \($0)" : "ALARM UNKNOWN"
    }
  }

  /// /livez and /readyz: several checks, of which `exclude` leaves some out and a sub-path names
  /// one.
  private func probe(
    _ name: String,
    _ checks: [Check],
    only: String?,
    _ query: Query
  ) async -> HTTPResponse {
    var chosen = checks
    if let only {
      guard let check = checks.first(where: { $0.rawValue == only }) else {
        return HTTPResponse(status: 404, text: "404 page not found\n")
      }
      chosen = [check]
    }
    let excluded = Set(query.all("exclude"))
    var lines: [String] = []
    var failed: [String] = []
    for check in chosen {
      if excluded.contains(check.rawValue) {
        lines.append("[+]\(check.rawValue) excluded: ok")
      } else if let reason = await check.failure(of: member) {
        lines.append("[-]\(check.rawValue) failed: \(reason)")
        failed.append(check.rawValue)
      } else {
        lines.append("[+]\(check.rawValue) ok")
      }
    }
    let details = lines.joined(separator: "\n") + "\n"
    guard failed.isEmpty else {
      return HTTPResponse(status: 503, text: "\(details)\(name) check failed\n")
    }
    let isVerbose = query.has("verbose")
    return HTTPResponse(status: 200, text: isVerbose ? "\(details)\(name) check passed\n" : "ok\n")
  }
}

/// One question that the probes ask a member. Raw values are etcd's names of the checks.
enum Check: String {
  case dataCorruption = "data_corruption"
  case serializableRead = "serializable_read"
  case linearizableRead = "linearizable_read"

  /// Why the check fails now, or nil when it passes.
  func failure(of member: MemberContext) async -> String? {
    switch self {
    case .dataCorruption:
      return member.status.alarms.hasCorruption ? "alarm activated: CORRUPT" : nil
    case .serializableRead:
      return member.isStopping ? "server stopped" : nil
    case .linearizableRead:
      if member.isStopping { return "server stopped" }
      if await member.becomesCurrent() { return nil }
      let reason: RequestError = member.status.hasLeader ? .timeout : .noLeader
      return reason.codeAndText.1
    }
  }
}

/// The parameters of a request's query, in order. Names and values are taken as they stand: none
/// of those in use needs percent-decoding.
struct Query {
  private let pairs: [(name: Substring, value: Substring)]

  init(_ text: String) {
    pairs = text.split(separator: "&").map { pair in
      let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      return (parts[0], parts.count > 1 ? parts[1] : "")
    }
  }

  subscript(name: String) -> String? {
    pairs.first { $0.name == name }.map { String($0.value) }
  }

  func has(_ name: String) -> Bool {
    pairs.contains { $0.name == name }
  }

  func all(_ name: String) -> [String] {
    pairs.filter { $0.name == name }.map { String($0.value) }
  }
}
