import Foundation
import JSONGateway
import Proto
import Testing

struct RoundTripTests {
  /// To JSON and back gives the bytes again, whatever the message.
  @Test(arguments: MessageDescriptor.all.map(\.name))
  func everyMessageComesBackFromJSON(name: String) throws {
    let descriptor = try #require(MessageDescriptor.named(name))
    let seed: UInt64 = 0x6A73_6F6E
    var random = SeededRandom(seed: seed)
    for round in 0..<40 {
      let bytes = RandomMessages.message(descriptor, &random, depth: 4)
      let json = try Transcoder.json(descriptor, of: bytes)
      let back = try Transcoder.message(descriptor, fromJSON: json)
      let text = String(decoding: json, as: UTF8.self)
      // Not compared within the macro, which would print both in full.
      let isSame = back == bytes
      #expect(isSame, "\(name) seed \(seed) round \(round): \(text.prefix(2000))")
    }
  }

  /// Another parser reads what ours writes.
  @Test func outputIsJSON() throws {
    var random = SeededRandom(seed: 7)
    for descriptor in MessageDescriptor.all {
      let bytes = RandomMessages.message(descriptor, &random, depth: 4)
      let json = try Transcoder.json(descriptor, of: bytes)
      let object = try JSONSerialization.jsonObject(with: Data(json))
      #expect(object is [String: Any], "\(descriptor.name)")
    }
  }

  /// Random bytes in the place of a message's: an error or some message, never a crash.
  @Test func damagedMessagesAreErrors() throws {
    var random = SeededRandom(seed: 11)
    for descriptor in MessageDescriptor.all {
      for _ in 0..<20 {
        var bytes = RandomMessages.message(descriptor, &random, depth: 3)
        if !bytes.isEmpty { bytes[random.below(bytes.count)] = UInt8(random.below(256)) }
        _ = try? Transcoder.json(descriptor, of: bytes)
      }
    }
  }
}
