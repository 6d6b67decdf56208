import Glibc
import NIOPosix

/// Asks a name server for SRV records, by UDP over IPv4.
package enum ServiceLookup {
  private static let port: UInt16 = 53
  private static let resolverFileBytesMax = 64 << 10
  private static let tries = 3
  private static let patienceSeconds = 2

  /// The records of a name. `server` is `address:port`; empty: what the system uses.
  ///
  /// Throws `ServiceLookupError`. Waits on a thread of NIO's pool, not on the caller's.
  package static func records(
    of name: String,
    server: String
  ) async throws -> [ServiceRecord] {
    let question = try ServiceQuestion(name: name, number: .random(in: 0 ... .max))
    let server = server.isEmpty ? systemServer() : server
    return try await NIOThreadPool.singleton.runIfActive { try ask(question, server) }
  }

  /// The first name server of the system, as the resolver's file has it.
  private static func systemServer() -> String {
    let text = String(decoding: resolverFile(), as: UTF8.self)
    for line in text.split(separator: "\n") {
      let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
      if words.count >= 2, words[0] == "nameserver" { return "\(words[1]):\(port)" }
    }
    return "127.0.0.1:\(port)"
  }

  /// What the resolver's file has; nothing when it cannot be read.
  private static func resolverFile() -> [UInt8] {
    let file = open("/etc/resolv.conf", O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return [] }
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: resolverFileBytesMax)
    let count = read(file, &bytes, bytes.count)
    return Array(bytes.prefix(max(count, 0)))
  }

  private static func ask(
    _ question: ServiceQuestion,
    _ server: String
  ) throws -> [ServiceRecord] {
    let parts = server.split(separator: ":")
    var ip: [UInt8] = [0, 0, 0, 0]
    guard parts.count == 2, let port = UInt16(parts[1]),
      inet_pton(AF_INET, String(parts[0]), &ip) == 1
    else { throw ServiceLookupError.noAnswer(server: server) }
    let socket = Glibc.socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    guard socket >= 0 else { throw ServiceLookupError.noAnswer(server: server) }
    defer { close(socket) }
    // The structs' members belong to another module where SwiftNIO is seen, so these are their bytes:
    // a timeval, and a sockaddr_in.
    let patience = [patienceSeconds, 0]
    let timeResult = patience.withUnsafeBytes { bytes in
      setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, bytes.baseAddress, socklen_t(bytes.count))
    }
    var address = withUnsafeBytes(of: UInt16(AF_INET)) { Array($0) }
    address += [UInt8(port >> 8), UInt8(port & 0xff)] + ip + [UInt8](repeating: 0, count: 8)
    // Connected, it takes datagrams of that server alone.
    let connectResult = address.withUnsafeBytes { bytes in
      bytes.withMemoryRebound(to: sockaddr.self) {
        connect(socket, $0.baseAddress, socklen_t(bytes.count))
      }
    }
    guard timeResult == 0, connectResult == 0 else {
      throw ServiceLookupError.noAnswer(server: server)
    }
    let datagram = question.datagram
    var answer = [UInt8](repeating: 0, count: ServiceQuestion.answerBytesMax)
    for _ in 0..<tries {
      guard send(socket, datagram, datagram.count, 0) == datagram.count else { continue }
      let length = recv(socket, &answer, answer.count, 0)
      guard length > 0 else { continue }
      if let records = try question.records(in: Array(answer[..<length])) { return records }
    }
    throw ServiceLookupError.noAnswer(server: server)
  }
}
