import RPC

/// For whom a call is made: the metadata that is passed on. Calls share an upstream stream, and a
/// cached answer, only when theirs is equal.
struct CallIdentity: Hashable {
  private struct Entry: Hashable {
    let name: String
    let value: String
  }

  private let entries: [Entry]

  /// Nobody in particular: the proxy's own calls.
  init() { entries = [] }

  /// Without what tells calls of one caller apart.
  init(_ call: ServerCall) {
    entries = call.passedMetadata.filter { !Self.traces.contains($0.name) }
      .map { Entry(name: $0.name, value: $0.value) }
  }

  private static let traces: Set<String> = ["traceparent", "tracestate", "baggage"]

  var metadata: [(name: String, value: String)] { entries.map { ($0.name, $0.value) } }

  /// The caller wants to be told when its server has no leader.
  var requiresLeader: Bool { entries.contains { $0.name == "hasleader" } }
}

extension ServerCall {
  /// The metadata that goes to the server with the call.
  var passedMetadata: [(name: String, value: String)] {
    headers.filter { !$0.name.hasPrefix(LoopbackMetadata.prefix) }
  }
}
