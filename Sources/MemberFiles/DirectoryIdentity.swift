package import Base
import Crypto
import Glibc

/// Whose data a directory holds, in a file of five lines, each ended by a line feed:
///
///     martlet data directory
///     format 1
///     member 8e9e05c52164694d
///     cluster cdf818194e3a8c32
///     check 0123456789abcdef
///
/// The check is the first 16 hex digits of SHA-256 over the lines before it, line ends included.
/// Of a newer format only the first two lines need to be as here.
package struct DirectoryIdentity: Hashable, Sendable {
  package let memberID: MemberID
  package let clusterID: ClusterID

  /// The version that this release writes, and the newest that it reads.
  package static let formatVersion = 1

  static let title = "martlet data directory"
  static let sizeBytesMax = 4096

  package init(memberID: MemberID, clusterID: ClusterID) {
    self.memberID = memberID
    self.clusterID = clusterID
  }

  /// The file's content.
  package var text: String {
    let body =
      "\(Self.title)\nformat \(Self.formatVersion)\nmember \(memberID)\ncluster \(clusterID)\n"
    return "\(body)check \(Self.check(body))\n"
  }

  private static func check(_ body: String) -> String {
    SHA256.hash(data: Array(body.utf8)).prefix(8).map { byte in
      let digits = String(byte, radix: 16)
      return byte < 16 ? "0\(digits)" : digits
    }.joined()
  }

  /// Reads a file's content.
  init(text: String, file: String, directory: String) throws(DataDirectoryError) {
    let damaged = DataDirectoryError.identityDamaged(file: file)
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    guard lines.count >= 3, lines[0] == Self.title, lines[1].hasPrefix("format "),
      let version = Int(lines[1].dropFirst(7)), version > 0
    else { throw damaged }
    guard version <= Self.formatVersion else {
      throw .newerFormat(version, directory: directory)
    }
    guard lines.count == 6, lines[5].isEmpty, lines[2].hasPrefix("member "),
      lines[3].hasPrefix("cluster "), let memberID = UInt64(lines[2].dropFirst(7), radix: 16),
      let clusterID = UInt64(lines[3].dropFirst(8), radix: 16), memberID != 0
    else { throw damaged }
    self.init(memberID: MemberID(memberID), clusterID: ClusterID(clusterID))
    guard self.text == text else { throw damaged }
  }

  /// Reads the file, or nothing when there is none.
  static func read(
    _ file: String,
    directory: String
  ) throws(DataDirectoryError) -> DirectoryIdentity? {
    guard let bytes = try Files.read(file, bytesMax: sizeBytesMax) else { return nil }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw .identityDamaged(file: file)
    }
    return try DirectoryIdentity(text: text, file: file, directory: directory)
  }
}
