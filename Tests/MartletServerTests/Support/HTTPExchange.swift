import NIOCore
import NIOPosix

/// One plain HTTP/1.1 request by itself.
struct HTTPExchange: Sendable {
  var status: Int
  var head: String
  var body: String

  static func get(
    _ target: String,
    port: Int,
    method: String = "GET",
    body: String? = nil
  ) async throws -> HTTPExchange {
    let received = Sink()
    let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .channelInitializer { channel in channel.pipeline.addHandler(received) }
      .connect(host: "127.0.0.1", port: port).get()
    let length = body.map { "Content-Length: \($0.utf8.count)\r\n" } ?? ""
    let request =
      "\(method) \(target) HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\(length)\r\n\(body ?? "")"
    try await channel.writeAndFlush(ByteBuffer(string: request)).get()
    try await channel.closeFuture.get()
    let text = try await channel.eventLoop.submit { String(buffer: received.bytes) }.get()
    let end = text.range(of: "\r\n\r\n")
    let words = text.split(separator: " ", maxSplits: 2)
    return HTTPExchange(
      status: words.count > 1 ? Int(words[1]) ?? 0 : 0,
      head: end.map { String(text[..<$0.lowerBound]) } ?? text,
      body: end.map { String(text[$0.upperBound...]) } ?? ""
    )
  }

  private final class Sink: ChannelInboundHandler, @unchecked Sendable {
    // Used on the channel's event loop only.
    typealias InboundIn = ByteBuffer
    var bytes = ByteBuffer()

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      var part = unwrapInboundIn(data)
      bytes.writeBuffer(&part)
    }
  }
}

extension String {
  /// The first place of `part`, as Foundation has it.
  fileprivate func range(of part: String) -> Range<String.Index>? {
    var start = startIndex
    while start < endIndex {
      if self[start...].hasPrefix(part) {
        return start..<index(start, offsetBy: part.count)
      }
      start = index(after: start)
    }
    return nil
  }
}
