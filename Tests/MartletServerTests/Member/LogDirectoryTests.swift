import Glibc
import MartletServer
import Proto
import RPC
import Testing

@Suite("A log in a directory of its own", .timeLimit(.minutes(10))) struct LogDirectoryTests {
  @Test("--wal-dir has it, and must not change")
  func apart() async throws {
    let folder = try TemporaryFolder()
    let apart = "\(folder.path)/apart"
    func start(_ logDirectory: String) async throws -> TestMember {
      try await TestMember.start(in: folder) { $0.logDirectory = logDirectory }
    }
    let first = try await start(apart)
    _ = try await first.kv.put(.init("a", "1"))
    await first.stop()
    #expect(access("\(folder.path)/data/member/log", F_OK) != 0)
    let second = try await start(apart)
    #expect(try await second.kv.range(.init("a")).kvs.first?.text == "a=1")
    await second.stop()
    for other in ["", "\(folder.path)/elsewhere"] {
      do {
        let member = try await start(other)
        await member.stop()
        Issue.record("it has started without its log")
      } catch let error as StartError {
        #expect("\(error)".contains("is gone"), "\(error)")
      }
    }
    let last = try await start(apart)
    #expect(try await last.kv.range(.init("a")).kvs.first?.text == "a=1")
    await last.stop()
  }
}
