/// A method of the API, as traces and metrics show it: `etcdserverpb.KV/Put`.
struct CallName: Hashable, Sendable, ExpressibleByStringLiteral {
  let service: String
  let method: String

  var text: String { "\(service)/\(method)" }

  /// `literal`: the service without its package, and the method: `KV/Put`.
  init(stringLiteral literal: StaticString) {
    let parts = "\(literal)".split(separator: "/").map(String.init)
    precondition(parts.count == 2, "\(literal) is no method")
    let package =
      switch parts[0] {
      case "Lock": "v3lockpb"
      case "Election": "v3electionpb"
      default: "etcdserverpb"
      }
    service = "\(package).\(parts[0])"
    method = parts[1]
  }
}
