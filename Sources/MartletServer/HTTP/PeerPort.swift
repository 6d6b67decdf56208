import Base
import Membership
import RPC

/// What the peer addresses answer over plain HTTP: /members, /version and /health.
struct PeerPort: HTTPHandler {
  let member: MemberContext
  let endpoints: OperatorEndpoints

  func respond(to request: HTTPRequest) async -> HTTPResponse {
    switch request.path {
    case "/members":
      guard request.method == "GET" else {
        return HTTPResponse(status: 405, text: "Method Not Allowed\n")
      }
      var response = HTTPResponse(
        status: 200,
        text: Self.json(member.status.memberList),
        contentType: "application/json"
      )
      response.headers.append(("x-etcd-cluster-id", "\(member.clusterID)"))
      return response
    case "/version", "/health":
      return await endpoints.respond(to: request)
    default:
      return HTTPResponse(status: 404, text: "404 page not found\n")
    }
  }

  /// The members as etcd's peer port shows them.
  package static func json(_ table: MemberTable) -> String {
    let members = table.members.map { member in
      var fields = [#""id":\#(member.id.rawValue)"#, #""peerURLs":\#(list(member.peerURLs))"#]
      if member.isLearner { fields.append(#""isLearner":true"#) }
      if !member.name.isEmpty { fields.append(#""name":\#(text(member.name))"#) }
      if !member.clientURLs.isEmpty { fields.append(#""clientURLs":\#(list(member.clientURLs))"#) }
      return "{\(fields.joined(separator: ","))}"
    }
    return "[\(members.joined(separator: ","))]\n"
  }

  private static func list(_ texts: [String]) -> String {
    "[\(texts.map(text).joined(separator: ","))]"
  }

  private static func text(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"", "\\":
        result += "\\\(scalar)"
      case "\u{0}"..<" ":
        let digits = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default:
        result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}
