package import Base
import Crypto

/// One member of a cluster, as the member list shows it.
package struct Member: Hashable, Sendable {
  package let id: MemberID
  /// Empty until the member has started and published itself.
  package var name: String
  /// Where other members reach it. Sorted.
  package var peerURLs: [String]
  /// Where clients reach it; empty until it has published itself. In the order it gave.
  package var clientURLs: [String]
  /// Receives the log and has no vote.
  package var isLearner: Bool

  /// Whether the member has started at least once since it was added.
  package var isStarted: Bool { !name.isEmpty }

  package init(
    id: MemberID,
    name: String = "",
    peerURLs: [String],
    clientURLs: [String] = [],
    isLearner: Bool = false
  ) {
    self.id = id
    self.name = name
    self.peerURLs = peerURLs.sorted(by: lexicallyByBytes)
    self.clientURLs = clientURLs
    self.isLearner = isLearner
  }

  /// A member named by `--initial-cluster`: its ID follows from its URLs and the cluster's token.
  package init(founding entry: InitialCluster.Entry, token: String) {
    let urls = entry.peerURLs.map(\.description)
    self.init(id: .founding(peerURLs: urls, token: token), name: entry.name, peerURLs: urls)
  }
}

/// Go sorts strings by their bytes; IDs depend on it.
func lexicallyByBytes(_ left: String, _ right: String) -> Bool {
  left.utf8.lexicographicallyPrecedes(right.utf8)
}

extension MemberID {
  /// The ID of a member that founds a cluster: the first 8 bytes, big endian, of SHA-1 over its
  /// sorted peer URLs, joined without a separator, followed by the cluster's token.
  package static func founding(peerURLs: [String], token: String) -> MemberID {
    MemberID(firstEightBytes(peerURLs.sorted(by: lexicallyByBytes).joined() + token))
  }

  /// The ID of a member added to a running cluster: as for a founding one, with the time of the
  /// addition as decimal text in place of the token, so that the same URLs get a new ID each time.
  ///
  /// The time is the proposer's; it must be taken once, before the change goes to the log.
  package static func added(peerURLs: [String], unixTimeSeconds: Int64) -> MemberID {
    founding(peerURLs: peerURLs, token: String(unixTimeSeconds))
  }
}

extension ClusterID {
  /// The ID of the cluster that `members` found: the first 8 bytes of SHA-1 over their IDs,
  /// big endian, in ascending order. It stays when members come and go later.
  package static func founded(by members: [MemberID]) -> ClusterID {
    var hasher = Insecure.SHA1()
    for id in members.sorted() {
      withUnsafeBytes(of: id.rawValue.bigEndian) { hasher.update(bufferPointer: $0) }
    }
    return ClusterID(firstEightBytes(of: hasher.finalize()))
  }
}

private func firstEightBytes(_ text: String) -> UInt64 {
  var hasher = Insecure.SHA1()
  var text = text
  text.withUTF8 { hasher.update(bufferPointer: UnsafeRawBufferPointer($0)) }
  return firstEightBytes(of: hasher.finalize())
}

private func firstEightBytes(of digest: Insecure.SHA1.Digest) -> UInt64 {
  digest.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
}
