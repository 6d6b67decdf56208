import NIOCore
import Synchronization

/// A name server on loopback that knows the SRV records of a few names.
final class NameServer: ChannelInboundHandler, Sendable {
  typealias InboundIn = AddressedEnvelope<ByteBuffer>
  typealias OutboundOut = AddressedEnvelope<ByteBuffer>

  /// The host and port of each record, by name.
  private let records: [String: [(host: String, port: UInt16)]]
  let asked = Mutex<[String]>([])

  init(_ records: [String: [(host: String, port: UInt16)]]) {
    self.records = records
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    let envelope = unwrapInboundIn(data)
    let question = Array(envelope.data.readableBytesView)
    guard let answer = answer(to: question) else { return }
    let reply = AddressedEnvelope(
      remoteAddress: envelope.remoteAddress,
      data: context.channel.allocator.buffer(bytes: answer)
    )
    context.writeAndFlush(wrapOutboundOut(reply), promise: nil)
  }

  private func answer(to question: [UInt8]) -> [UInt8]? {
    var place = 12
    var labels: [String] = []
    while place < question.count, question[place] > 0 {
      let end = place + 1 + Int(question[place])
      guard end < question.count else { return nil }
      labels.append(String(decoding: question[place + 1..<end], as: UTF8.self))
      place = end
    }
    let name = labels.joined(separator: ".")
    asked.withLock { $0.append(name) }
    let found = records[name] ?? []
    var answer = Array(question[..<2])
    answer += [0x81, found.isEmpty ? 0x83 : 0x80, 0, 1, 0, UInt8(found.count), 0, 0, 0, 0]
    answer += question[12..<min(place + 5, question.count)]
    for record in found {
      // The name by a pointer to the question.
      answer += [0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60]
      var data: [UInt8] = [0, 1, 0, 2, UInt8(record.port >> 8), UInt8(record.port & 0xff)]
      for label in record.host.split(separator: ".") {
        data.append(UInt8(label.utf8.count))
        data += Array(label.utf8)
      }
      data.append(0)
      answer += [UInt8(data.count >> 8), UInt8(data.count & 0xff)] + data
    }
    return answer
  }
}
