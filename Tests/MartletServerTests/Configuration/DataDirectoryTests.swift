import Base
import Glibc
import MartletServer
import MemberFiles
import Testing

@Suite("Data directory")
struct DataDirectoryTests {
  private let memberID = MemberID(0x8e9e_05c5_2164_694d)
  private let clusterID = ClusterID(0xcdf8_1819_4e3a_8c32)

  private func mode(_ path: String) -> mode_t {
    var info = stat()
    return stat(path, &info) == 0 ? info.st_mode & 0o777 : 0
  }

  /// Makes a directory with an identity and closes it; returns its path.
  private func made(in folder: TemporaryFolder) throws -> String {
    let path = "\(folder.path)/data"
    let directory = try DataDirectory(path: path)
    try directory.writeIdentity(memberID: memberID, clusterID: clusterID)
    directory.close()
    return path
  }

  private func refusal(_ path: String) -> DataDirectoryError? {
    do {
      _ = try DataDirectory(path: path)
      return nil
    } catch {
      return error
    }
  }

  @Test("is made with mode 0700, and knows its identity when opened again")
  func makes() throws {
    let folder = try TemporaryFolder()
    let path = "\(folder.path)/data"
    let new = try DataDirectory(path: path)
    #expect(new.identity == nil)
    for made in [path, "\(path)/member", new.logPath, new.databasePath] {
      #expect(mode(made) == 0o700, "\(made)")
    }
    try new.writeIdentity(memberID: memberID, clusterID: clusterID)
    new.close()
    let again = try DataDirectory(path: path)
    #expect(again.identity == DirectoryIdentity(memberID: memberID, clusterID: clusterID))
    #expect(mode("\(path)/member/IDENTITY") == 0o600)
    #expect(access("\(path)/member/IDENTITY.tmp", F_OK) != 0)
  }

  @Test("the identity file is as documented")
  func identityFile() throws {
    let folder = try TemporaryFolder()
    let text = try TemporaryFolder.read("\(try made(in: folder))/member/IDENTITY")
    #expect(
      text
        == "martlet data directory\nformat 1\nmember 8e9e05c52164694d\ncluster cdf818194e3a8c32\n"
        + "check 8c2fc53c8494eeb1\n"
    )
  }

  @Test("a second owner is refused until the first lets go, by close or by its end")
  func locked() throws {
    let folder = try TemporaryFolder()
    let path = "\(folder.path)/data"
    var first: DataDirectory? = try DataDirectory(path: path)
    let inUse = DataDirectoryError.inUse(path, lockFile: "\(path)/member/LOCK")
    #expect(refusal(path) == inUse)
    #expect(inUse.description.contains("in use by another process"))
    #expect(inUse.description.contains("member/LOCK"))
    first?.close()
    first?.close()
    #expect(refusal(path) == nil)
    first = try DataDirectory(path: path)
    #expect(refusal(path) == inUse)
    withExtendedLifetime(first) {}
    first = nil
    #expect(refusal(path) == nil)
  }

  @Test("etcd's own directory is recognised and left as it is", arguments: ["wal", "snap"])
  func etcd(name: String) throws {
    let folder = try TemporaryFolder()
    let path = "\(folder.path)/default.etcd"
    for made in [path, "\(path)/member", "\(path)/member/\(name)"] { mkdir(made, 0o700) }
    #expect(refusal(path) == .belongsToEtcd(path))
    #expect(DataDirectoryError.belongsToEtcd(path).description.contains("martletutl"))
    #expect(access("\(path)/member/LOCK", F_OK) != 0)
    #expect(access("\(path)/member/db", F_OK) != 0)
  }

  @Test("a newer format is refused, whatever else it holds")
  func newer() throws {
    let folder = try TemporaryFolder()
    let path = try made(in: folder)
    _ = try folder.write(
      "martlet data directory\nformat 2\nelse entirely\n",
      to: "data/member/IDENTITY"
    )
    #expect(refusal(path) == .newerFormat(2, directory: path))
  }

  @Test("a damaged identity is refused: cut anywhere, any byte changed")
  func damaged() throws {
    let folder = try TemporaryFolder()
    let path = try made(in: folder)
    let file = "\(path)/member/IDENTITY"
    let bytes = Array(try TemporaryFolder.read(file).utf8)
    let damage = DataDirectoryError.identityDamaged(file: file)
    for length in 0..<bytes.count {
      _ = try folder.write(
        String(decoding: bytes[..<length], as: UTF8.self),
        to: "data/member/IDENTITY"
      )
      #expect(refusal(path) == damage, "cut at \(length)")
    }
    let version = try #require(bytes.firstIndex(of: UInt8(ascii: "1")))
    for index in bytes.indices where index != version {
      var changed = bytes
      changed[index] ^= 1
      _ = try folder.write(
        String(decoding: changed, as: UTF8.self),
        to: "data/member/IDENTITY"
      )
      if index == version + 1 { continue }
      #expect(refusal(path) == damage, "byte \(index)")
    }
  }

  @Test("data without an identity is refused", arguments: ["log", "db"])
  func missing(name: String) throws {
    let folder = try TemporaryFolder()
    let path = try made(in: folder)
    unlink("\(path)/member/IDENTITY")
    #expect(refusal(path) == nil, "nothing in it yet")
    _ = try folder.write("x", to: "data/member/\(name)/file")
    #expect(refusal(path) == .identityMissing(path))
  }

  @Test("a file in its place, and a place where none can be made")
  func unusable() throws {
    let folder = try TemporaryFolder()
    let file = try folder.write("", to: "file")
    #expect(refusal(file) == .notADirectory(file))
    #expect(refusal("\(file)/data") == .cannotCreate("\(file)/data", ENOTDIR))
    let nowhere = "\(folder.path)/none/data"
    #expect(refusal(nowhere) == .cannotCreate(nowhere, ENOENT))
    #expect(
      DataDirectoryError.cannotCreate(nowhere, ENOENT).description.contains("No such file")
    )
  }

  @Test("a directory that may not be written", .enabled(if: geteuid() != 0, "root may everything"))
  func readOnly() throws {
    let folder = try TemporaryFolder()
    let path = "\(folder.path)/data"
    mkdir(path, 0o500)
    #expect(refusal(path) == .notWritable(path, EACCES))
  }
}
