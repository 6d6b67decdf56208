import Glibc

/// A member's page of metrics, read without encryption.
enum MetricsPage {
  private static let bytesMax = 16 << 20
  private static let patienceSeconds = 5

  /// The value of a metric without labels; nil when it cannot be had.
  static func value(of name: String, at endpoint: String) -> Double? {
    guard !endpoint.hasPrefix("https://"), !endpoint.hasPrefix("unix") else { return nil }
    let text = endpoint.hasPrefix("http://") ? String(endpoint.dropFirst(7)) : endpoint
    guard let colon = text.lastIndex(of: ":") else { return nil }
    let host = text[..<colon].filter { $0 != "[" && $0 != "]" }
    let port = text[text.index(after: colon)...].prefix { $0 != "/" }
    guard let page = page(String(host), String(port)) else { return nil }
    for line in page.split(separator: "\n") where line.hasPrefix(name + " ") {
      return Double(line.dropFirst(name.count + 1).filter { !$0.isWhitespace })
    }
    return nil
  }

  private static func page(_ host: String, _ port: String) -> String? {
    guard let descriptor = connection(to: host, port) else { return nil }
    defer { close(descriptor) }
    let request = Array("GET /metrics HTTP/1.0\r\nHost: \(host)\r\n\r\n".utf8)
    guard send(descriptor, request, request.count, Int32(MSG_NOSIGNAL)) == request.count
    else { return nil }
    var page: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 64 << 10)
    while page.count < bytesMax {
      let count = recv(descriptor, &piece, piece.count, 0)
      if count == 0 { return String(decoding: page, as: UTF8.self) }
      guard count > 0 else { return nil }
      page += piece[..<count]
    }
    return nil
  }

  /// A connection to the first of the host's addresses that takes one.
  private static func connection(to host: String, _ port: String) -> Int32? {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var found: UnsafeMutablePointer<addrinfo>?
    guard getaddrinfo(host, port, &hints, &found) == 0 else { return nil }
    defer { freeaddrinfo(found) }
    var next = found
    while let address = next?.pointee {
      if let descriptor = connection(to: address) { return descriptor }
      next = address.ai_next
    }
    return nil
  }

  private static func connection(to address: addrinfo) -> Int32? {
    let descriptor = socket(address.ai_family, Int32(SOCK_STREAM.rawValue), 0)
    guard descriptor >= 0 else { return nil }
    var patience = timeval(tv_sec: patienceSeconds, tv_usec: 0)
    let size = socklen_t(MemoryLayout<timeval>.size)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(descriptor, SOL_SOCKET, option, &patience, size)
    }
    guard connect(descriptor, address.ai_addr, address.ai_addrlen) == 0 else {
      close(descriptor)
      return nil
    }
    return descriptor
  }
}
