import Base
import Proto
import RPC

/// The methods that tests call.
enum Echo {
  static let unary = MethodPath("/test.Echo/Unary")
  static let expand = MethodPath("/test.Echo/Expand")
  static let collect = MethodPath("/test.Echo/Collect")
  static let chat = MethodPath("/test.Echo/Chat")
  static let fail = MethodPath("/test.Echo/Fail")
  static let hang = MethodPath("/test.Echo/Hang")
  static let flood = MethodPath("/test.Echo/Flood")
  static let inspect = MethodPath("/test.Echo/Inspect")
}

/// Answers in all the ways that a service can. Confined to its loop.
final class EchoService {
  let log: EventLog
  var collected: [CallID: [UInt8]] = [:]
  /// Ids of calls of `Hang`, kept after their end.
  var hanging: [CallID] = []
  var floodBytes = 0

  init(_ log: EventLog) {
    self.log = log
  }

  static let floodMessageBytes = 32 << 10

  /// Sends as long as the client takes it.
  func flood(_ call: ServerCall) {
    while call.isActive {
      guard call.isWritable else {
        log.add("flood stopped")
        call.whenWritable { [self] in flood($0) }
        return
      }
      floodBytes += Self.floodMessageBytes
      call.send { writer in
        for _ in 0..<Self.floodMessageBytes / 8 { writer.append(integer: UInt64(0)) }
      }
    }
  }
}

struct EchoDispatcher: ServiceDispatcher {
  let service: EchoService

  static let methods = [
    MethodInfo(path: Echo.unary.path, requestStreaming: false, responseStreaming: false),
    MethodInfo(path: Echo.expand.path, requestStreaming: false, responseStreaming: true),
    MethodInfo(path: Echo.collect.path, requestStreaming: true, responseStreaming: false),
    MethodInfo(path: Echo.chat.path, requestStreaming: true, responseStreaming: true),
    MethodInfo(path: Echo.fail.path, requestStreaming: false, responseStreaming: false),
    MethodInfo(path: Echo.hang.path, requestStreaming: false, responseStreaming: false),
    MethodInfo(path: Echo.flood.path, requestStreaming: false, responseStreaming: true),
    MethodInfo(path: Echo.inspect.path, requestStreaming: false, responseStreaming: false),
  ]

  func start(_ method: Int, _ call: ServerCall) {
    service.log.add("start \(call.path)")
    if method == 2 { service.collected[call.id] = [] }
  }

  func receive(
    _ method: Int,
    _ message: UnsafeRawBufferPointer,
    _ call: ServerCall,
    _ arena: Arena
  ) {
    switch method {
    case 0:
      call.respond { $0.append(message) }
      // The message outlives the answer, until this returns.
      service.log.add("sum \(message.reduce(0) { $0 &+ Int($1) })")
    case 1:
      for _ in 0..<message[0] { call.send { $0.append(message) } }
      call.finish(.ok)
    case 2:
      service.collected[call.id]?.append(contentsOf: message)
    case 3:
      call.send { $0.append(message) }
    case 4:
      let code = RPCCode(rawValue: message[0]) ?? .unknown
      call.finish(RPCStatus(code, String(decoding: message.dropFirst(), as: UTF8.self)))
    case 5:
      service.hanging.append(call.id)
      service.log.add("hanging")
    case 6:
      service.flood(call)
    default:
      inspect(call)
    }
  }

  func inspect(_ call: ServerCall) {
    let binary = call.binaryHeader(named: "trace-bin").map { "\($0)" } ?? "none"
    let text = """
      path=\(call.path) authority=\(call.authority) token=\(call.header(named: "token") ?? "none") \
      trace=\(binary) headers=\(call.headers.map(\.name)) deadline=\(call.deadline != nil) \
      peer=\(call.peerAddress.hasPrefix("127.0.0.1:"))\(call.peerCommonName.map { " cn=\($0)" } ?? "")
      """
    let bytes = [UInt8](text.utf8)
    call.respond { writer in bytes.withUnsafeBytes { writer.append($0) } }
  }

  func halfClose(_ method: Int, _ call: ServerCall) {
    service.log.add("half closed \(call.path)")
    if method == 2 {
      let bytes = service.collected.removeValue(forKey: call.id) ?? []
      call.respond(message: SharedBytes(bytes))
    } else {
      call.finish(.ok)
    }
  }

  func cancel(_ method: Int, _ call: ServerCall) {
    service.collected[call.id] = nil
    // Must have no effect.
    call.finish(.internal("sent to a call that is over"))
    service.log.add("canceled \(call.path)")
  }
}
