/// A method of the API, as traces and metrics show it: `etcdserverpb.KV/Put`. Costs nothing until it is
/// looked at.
struct CallName: Hashable, Sendable, ExpressibleByStringLiteral {
  private let literal: StaticString

  /// `literal`: the service without its package, and the method: `KV/Put`.
  init(stringLiteral literal: StaticString) {
    self.literal = literal
  }

  var text: String { "\(package).\(literal)" }
  var service: String { "\(package).\(parts.first ?? "")" }
  var method: String { parts.last ?? "" }

  private var parts: [String] { "\(literal)".split(separator: "/").map(String.init) }

  private var package: String {
    switch parts.first {
    case "Lock": "v3lockpb"
    case "Election": "v3electionpb"
    default: "etcdserverpb"
    }
  }

  static func == (left: CallName, right: CallName) -> Bool {
    "\(left.literal)" == "\(right.literal)"
  }

  func hash(into hasher: inout Hasher) {
    hasher.combine("\(literal)")
  }
}
