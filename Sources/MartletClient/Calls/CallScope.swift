import RPC

/// What the calls of one view of a client have in common.
struct CallScope {
  let caller: Caller
  var deadline: Duration?
  /// What all keys and names begin with; taken off the answers.
  var prefix: [UInt8] = []

  func call<Response>(
    _ name: CallName,
    _ effect: Effect,
    at endpoint: String? = nil,
    _ body: (Caller.Attempt) async throws(RPCError) -> Response
  ) async throws(ClientError) -> Response {
    try await caller.call(name, effect, deadline: deadline, at: endpoint, body)
  }

  func key(_ key: some BytesConvertible) -> [UInt8] {
    prefix.isEmpty ? key.bytes : prefix + key.bytes
  }

  /// A key of an answer as the view's user knows it.
  func stripped(_ key: [UInt8]) -> [UInt8] {
    prefix.isEmpty ? key : Array(key.dropFirst(prefix.count))
  }
}
