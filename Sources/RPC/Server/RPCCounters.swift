/// What happened to the calls of one method since the start. Plain integers of one event loop;
/// a copy may go anywhere.
package struct MethodCounters: Sendable {
  package let path: String
  package let requestStreaming: Bool
  package let responseStreaming: Bool
  /// Calls begun.
  package var started: UInt64 = 0
  /// Calls ended, by the number of their code.
  package var handled = [UInt64](repeating: 0, count: RPCCode.allCases.count)
  package var messagesReceived: UInt64 = 0
  package var messagesSent: UInt64 = 0
  /// How long calls took, when the loop measures that.
  package var latency: CallLatency?

  init(_ info: MethodInfo) {
    path = info.path
    requestStreaming = info.requestStreaming
    responseStreaming = info.responseStreaming
  }
}

/// The counters of one event loop, or the sum over several.
package struct RPCCounters: Sendable {
  /// In the order in which the services were registered, the same on every loop.
  package var methods: [MethodCounters] = []
  /// Bytes of messages, with their prefixes, received and sent.
  package var bytesReceived: UInt64 = 0
  package var bytesSent: UInt64 = 0
  /// By the clients' versions, in no particular order.
  package var clients: [ClientCounters] = []
  /// Connections and calls that are open now.
  package var connections = 0
  package var calls = 0

  package init() {}

  /// Adds the counters of another loop, which must have the same services.
  package mutating func add(_ other: RPCCounters) {
    if methods.isEmpty { methods = other.methods } else { addMethods(other.methods) }
    for client in other.clients { add(client) }
    bytesReceived += other.bytesReceived
    bytesSent += other.bytesSent
    connections += other.connections
    calls += other.calls
  }

  private mutating func add(_ client: ClientCounters) {
    guard let place = clients.firstIndex(where: { $0.version == client.version }) else {
      return clients.append(client)
    }
    clients[place].unaryCalls += client.unaryCalls
    clients[place].streamCalls += client.streamCalls
  }

  private mutating func addMethods(_ others: [MethodCounters]) {
    precondition(methods.count == others.count, "loops with different services")
    for index in methods.indices {
      methods[index].started += others[index].started
      methods[index].messagesReceived += others[index].messagesReceived
      methods[index].messagesSent += others[index].messagesSent
      if let latency = others[index].latency {
        methods[index].latency = methods[index].latency.map { $0.adding(latency) } ?? latency
      }
      for code in methods[index].handled.indices {
        methods[index].handled[code] += others[index].handled[code]
      }
    }
  }
}
