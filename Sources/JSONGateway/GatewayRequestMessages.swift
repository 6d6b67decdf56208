import Proto
import RPC

/// The messages of a request's body: of one that was read in full, or of one that still arrives.
struct GatewayRequestMessages {
  private let descriptor: MessageDescriptor
  private let share: GatewayLoad.Share
  private let arriving: HTTPRequestBody?
  private var whole: JSONMessageSequence
  private var values = JSONValueSplitter()

  init(_ descriptor: MessageDescriptor, of request: HTTPRequest, _ share: GatewayLoad.Share) {
    self.descriptor = descriptor
    self.share = share
    arriving = request.arriving
    whole = JSONMessageSequence(descriptor, text: request.body)
  }

  /// The protobuf bytes of the next message, which is waited for; nil behind the last. Not to be
  /// called again after an error.
  mutating func next() async throws(Transcoder.InputError) -> [UInt8]? {
    guard let arriving else { return try whole.next() }
    while true {
      if let value = values.next() { return try message(value) }
      guard let bytes = await arriving.next() else {
        let rest = values.takeRest()
        return rest.isEmpty ? nil : try message(rest)
      }
      values.append(bytes)
      guard share.hold(bodyBytes: values.heldBytes) else {
        throw Transcoder.InputError(description: "a message of the request is too large")
      }
    }
  }

  private func message(_ text: [UInt8]) throws(Transcoder.InputError) -> [UInt8]? {
    var sequence = JSONMessageSequence(descriptor, text: text)
    return try sequence.next()
  }
}
