import Base
import FoundationEssentials
import Membership

/// A member as etcd stores it: JSON under its ID in hexadecimal digits.
struct EtcdMember: Codable {
  var id: UInt64
  var peerURLs: [String]?
  var isLearner: Bool?
  var name: String?
  var clientURLs: [String]?

  init(_ member: Member) {
    id = member.id.rawValue
    peerURLs = member.peerURLs
    isLearner = member.isLearner ? true : nil
    name = member.name.isEmpty ? nil : member.name
    clientURLs = member.clientURLs.isEmpty ? nil : member.clientURLs
  }

  /// Nil for what is no member.
  init?(_ bytes: UnsafeRawBufferPointer) {
    guard let member = try? JSONDecoder().decode(Self.self, from: Data(bytes)) else { return nil }
    self = member
  }

  var encoded: [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    guard let data = try? encoder.encode(self) else {
      preconditionFailure("a member of texts and numbers is always JSON")
    }
    return [UInt8](data)
  }

  var member: Member {
    Member(
      id: MemberID(id),
      name: name ?? "",
      peerURLs: peerURLs ?? [],
      clientURLs: clientURLs ?? [],
      isLearner: isLearner ?? false
    )
  }
}
