import Glibc
import NIOPosix

/// Asks a name server for SRV records, by UDP over IPv4.
enum ServiceLookup {
  private static let port: UInt16 = 53
  private static let answerBytesMax = 4096
  private static let tries = 3
  private static let patienceSeconds = 2

  /// The records of a name. `server` is `address:port`; empty: what the system uses.
  static func records(
    of name: String,
    server: String
  ) async throws -> [ServiceRecord] {
    let question = try ServiceQuestion(name: name, number: .random(in: 0 ... .max))
    let server = server.isEmpty ? systemServer() : server
    return try await NIOThreadPool.singleton.runIfActive { try ask(question, server) }
  }

  /// The first name server of the system, as the resolver's file has it.
  private static func systemServer() -> String {
    let bytes = (try? Files.read("/etc/resolv.conf", bytesMax: 64 << 10)) ?? nil
    for line in String(decoding: bytes ?? [], as: UTF8.self).split(separator: "\n") {
      let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
      if words.count >= 2, words[0] == "nameserver" { return "\(words[1]):\(port)" }
    }
    return "127.0.0.1:\(port)"
  }

  private static func ask(
    _ question: ServiceQuestion,
    _ server: String
  ) throws -> [ServiceRecord] {
    let parts = server.split(separator: ":")
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    guard parts.count == 2, let port = UInt16(parts[1]),
      inet_pton(AF_INET, String(parts[0]), &address.sin_addr) == 1
    else { throw ServiceLookupError.noAnswer(server: server) }
    address.sin_port = port.bigEndian
    let socket = Glibc.socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    guard socket >= 0 else { throw ServiceLookupError.noAnswer(server: server) }
    defer { close(socket) }
    var patience = timeval(tv_sec: patienceSeconds, tv_usec: 0)
    setsockopt(
      socket,
      SOL_SOCKET,
      SO_RCVTIMEO,
      &patience,
      socklen_t(MemoryLayout<timeval>.size)
    )
    // Connected, it takes datagrams of that server alone.
    let connected = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard connected == 0 else { throw ServiceLookupError.noAnswer(server: server) }
    let datagram = question.datagram
    var answer = [UInt8](repeating: 0, count: answerBytesMax)
    for _ in 0..<tries {
      guard send(socket, datagram, datagram.count, 0) == datagram.count else { continue }
      let length = recv(socket, &answer, answer.count, 0)
      guard length > 0 else { continue }
      if let records = try question.records(in: Array(answer[..<length])) { return records }
    }
    throw ServiceLookupError.noAnswer(server: server)
  }
}
