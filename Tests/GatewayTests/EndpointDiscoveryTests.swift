import Discovery
import Foundation
import Logging
import NIOCore
import NIOPosix
import TLS
import Testing

@testable import Gateway

/// A name server on loopback that knows the SRV records of a few names.
private final class NameServer: ChannelInboundHandler, Sendable {
  typealias InboundIn = AddressedEnvelope<ByteBuffer>
  typealias OutboundOut = AddressedEnvelope<ByteBuffer>

  private let records: [String: [ServiceRecord]]

  init(_ records: [String: [ServiceRecord]]) {
    self.records = records
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    let envelope = unwrapInboundIn(data)
    let answer = answer(to: Array(envelope.data.readableBytesView))
    let reply = AddressedEnvelope(
      remoteAddress: envelope.remoteAddress,
      data: ByteBuffer(bytes: answer)
    )
    context.writeAndFlush(wrapOutboundOut(reply), promise: nil)
  }

  private func answer(to question: [UInt8]) -> [UInt8] {
    var place = 12
    var labels: [String] = []
    while place < question.count, question[place] > 0 {
      let end = min(place + 1 + Int(question[place]), question.count)
      labels.append(String(decoding: question[place + 1..<end], as: UTF8.self))
      place = end
    }
    let found = records[labels.joined(separator: ".")] ?? []
    var answer = Array(question[..<2])
    answer += [0x81, found.isEmpty ? 0x83 : 0x80, 0, 1, 0, UInt8(found.count), 0, 0, 0, 0]
    answer += question[12..<min(place + 5, question.count)]
    for record in found {
      // The name by a pointer to the question.
      answer += [0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60]
      var data: [UInt8] = []
      for number in [record.priority, record.weight, record.port] {
        data += [UInt8(number >> 8), UInt8(number & 0xff)]
      }
      for label in record.target.split(separator: ".") {
        data.append(UInt8(label.utf8.count))
        data += Array(label.utf8)
      }
      data.append(0)
      answer += [UInt8(data.count >> 8), UInt8(data.count & 0xff)] + data
    }
    return answer
  }
}

@Suite("Endpoints by DNS", .timeLimit(.minutes(10))) struct EndpointDiscoveryTests {
  private let group = MultiThreadedEventLoopGroup.singleton
  private let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

  /// Listens with a certificate for a name; returns the port.
  private func listen(folder: String, host: String) async throws -> (any Channel, String) {
    let files = try SelfSignedCertificate.ensure(in: folder, hosts: [host], validityYears: 1)
    let settings = TLSSettings(certificateFile: files.certificate, keyFile: files.key)
    let tls = try ServerTLS(settings, logger: logger)
    let channel = try await ServerBootstrap(group: group)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture { try tls.install(on: channel) { $0 } }
      }
      .bind(host: "127.0.0.1", port: 0).get()
    return (channel, files.certificate)
  }

  private func discovery(
    _ server: String,
    _ domain: String,
    name: String = "",
    acceptsInsecure: Bool = false,
    authorities: String = ""
  ) -> EndpointDiscovery {
    EndpointDiscovery(
      domain: domain,
      serviceName: name,
      acceptsInsecure: acceptsInsecure,
      trustedCAFile: authorities,
      logger: logger,
      server: server
    )
  }

  @Test("records are believed when their endpoints prove the domain, or are not asked to")
  func verifies() async throws {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("martlet-gateway-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let (good, certificate) = try await listen(folder: folder + "/good", host: "example.test")
    let (bad, _) = try await listen(folder: folder + "/bad", host: "example.test")
    let ports = try [good, bad].map { UInt16(try #require($0.localAddress?.port)) }
    let secure = ports.map { port in
      ServiceRecord(priority: 5, weight: 7, port: port, target: "127.0.0.1")
    }
    let plain = ServiceRecord(priority: 1, weight: 0, port: 9, target: "plain.test")
    let names = try await DatagramBootstrap(group: group)
      .channelInitializer { channel in
        channel.pipeline.addHandler(
          NameServer([
            "_etcd-client-ssl._tcp.example.test": secure,
            "_etcd-client._tcp.example.test": [plain],
            "_etcd-client-blue._tcp.example.test": [plain],
            "_etcd-client-ssl._tcp.other.test": secure,
          ])
        )
      }
      .bind(host: "127.0.0.1", port: 0).get()
    let server = "127.0.0.1:\(try #require(names.localAddress?.port))"

    let proven = try await discovery(server, "example.test", authorities: certificate).endpoints()
    #expect(
      proven == [
        GatewayEndpoint(host: "127.0.0.1", port: Int(ports[0]), priority: 5, weight: 7)
      ]
    )
    let elsewhere = try await discovery(server, "other.test", authorities: certificate).endpoints()
    #expect(elsewhere.isEmpty, "a certificate for another domain")
    let all = try await discovery(server, "example.test", acceptsInsecure: true).endpoints()
    #expect(all.map(\.port) == ports.map { Int($0) } + [9])
    let blue = try await discovery(server, "example.test", name: "blue", acceptsInsecure: true)
      .endpoints()
    #expect(blue == [GatewayEndpoint(host: "plain.test", port: 9, priority: 1, weight: 0)])
    await #expect(throws: ClientServices.NothingFound.self) {
      try await discovery(server, "nobody.test").endpoints()
    }
    for channel in [good, bad, names] { try await channel.close() }
  }
}
