import Base
import MartletServer
import MemberFiles
import NIOCore
import Proto
import RPC
import Testing

@Suite("A running member: start and stop")
struct MemberLifecycleTests {
  @Test("a restart keeps everything, IDs and hashes included")
  func restart() async throws {
    let folder = try TemporaryFolder()
    var hashes: [Etcdserverpb.HashKVResponse] = []
    var lists: [[String]] = []
    var revisions: [Int64?] = []
    for life in 0..<3 {
      let member = try await TestMember.start(in: folder)
      if life > 0 {
        // Nothing was written since the last look.
        let hash = try await member.maintenance.hashKV(.init())
        let before = try #require(hashes.last)
        #expect(hash.hash == before.hash)
        #expect(hash.compactRevision == before.compactRevision)
        let all = try await member.kv.range(.all)
        #expect(all.kvs.map(\.text) == lists.last)
        #expect(all.header?.revision == revisions.last)
        #expect(all.header?.clusterID == 0xcdf8_1819_4e3a_8c32)
        #expect(all.header?.memberID == 0x8e9e_05c5_2164_694d)
      }
      for number in 0..<200 {
        _ = try await member.kv.put(.init("key-\(number % 50)", "\(life)-\(number)"))
      }
      _ = try await member.kv.deleteRange(
        .init(key: Array("key-1".utf8), rangeEnd: Array("key-2".utf8))
      )
      _ = try await member.kv.compact(.init(revision: Int64(100 * (life + 1)), physical: life == 1))
      hashes.append(try await member.maintenance.hashKV(.init()))
      let all = try await member.kv.range(.all)
      lists.append(all.kvs.map(\.text))
      revisions.append(all.header?.revision)
      await member.stop()
    }
    withExtendedLifetime(folder) {}
  }

  @Test("a data directory has one member at a time")
  func lock() async throws {
    let folder = try TemporaryFolder()
    let first = try await TestMember.start(in: folder)
    do {
      let second = try await TestMember.start(in: folder)
      await second.stop()
      Issue.record("two members share \(folder.path)")
    } catch let error as DataDirectoryError {
      guard case .inUse(let path, _) = error else {
        Issue.record("\(error)")
        return
      }
      #expect(path == "\(folder.path)/data")
    }
    // The first one does not care.
    _ = try await first.kv.put(.init("a", "1"))
    await first.stop()
    let third = try await TestMember.start(in: folder)
    #expect(try await third.kv.range(.all).count == 1)
    await third.stop()
  }

  @Test("a port that is taken is named, and the directory is free again")
  func portTaken() async throws {
    let folder = try TemporaryFolder()
    let other = try TemporaryFolder()
    let first = try await TestMember.start(in: other)
    await #expect(throws: StartError.self) {
      let second = try await TestMember.start(in: folder) { configuration in
        configuration.listenClientURLs = ["http://127.0.0.1:\(first.port)"]
      }
      await second.stop()
    }
    let second = try await TestMember.start(in: folder)
    await second.stop()
    await first.stop()
  }

  @Test("a configuration without this member is refused")
  func notAMember() async throws {
    let folder = try TemporaryFolder()
    await #expect(throws: (any Error).self) {
      let member = try await TestMember.start(in: folder) { configuration in
        configuration.initialCluster = "other=http://localhost:2380"
      }
      await member.stop()
    }
  }

  @Test("stop lets calls under way finish, and none is acknowledged and lost")
  func drain() async throws {
    let folder = try TemporaryFolder()
    let member = try await TestMember.start(in: folder)
    let (started, starts) = AsyncStream.makeStream(of: Void.self)
    let acknowledged = await withTaskGroup { tasks in
      for lane in 0..<8 {
        tasks.addTask {
          let client = RPCClient(
            address: .host("127.0.0.1", port: member.port),
            group: TestMember.group
          )
          var last = -1
          do {
            for number in 0..<1_000_000 {
              _ = try await KVClient(client).put(
                .init("lane-\(lane)", "\(number)"),
                options: CallOptions(timeout: .minutes(9))
              )
              last = number
              if number == 20 { starts.yield() }
            }
          } catch {
            // What a draining server may say; anything else is a call cut off.
            #expect((error as? RPCError)?.code == .unavailable, "\(error)")
          }
          await client.shutdown()
          return (lane, last)
        }
      }
      tasks.addTask {
        var lanes = started.makeAsyncIterator()
        for _ in 0..<8 { await lanes.next() }
        await member.stop()
        return (-1, 0)
      }
      return await tasks.reduce(into: [Int: Int]()) { $0[$1.0] = $1.1 }
    }
    let again = try await TestMember.start(in: folder)
    for lane in 0..<8 {
      let last = try #require(acknowledged[lane])
      let found = try await again.kv.range(.init("lane-\(lane)"))
      let text = try #require(found.kvs.first).value
      let stored = try #require(Int(String(decoding: text, as: UTF8.self)))
      // One more may have been written without its answer having come through.
      #expect(stored == last || stored == last + 1, "lane \(lane)")
    }
    await again.stop()
  }

  @Test("stopping twice is harmless, and failure() of a healthy member ends with its task")
  func stopTwice() async throws {
    let folder = try TemporaryFolder()
    let member = try await TestMember.start(in: folder)
    let watcher = Task { [member = member.member] in await member.failure() }
    watcher.cancel()
    #expect(await watcher.value == nil)
    await member.stop()
    await member.stop()
  }

  @Test("periodic compaction runs by itself, in its shortest period")
  func autoCompaction() async throws {
    let change = { (configuration: inout ServerConfiguration) in
      configuration.autoCompactionMode = "periodic"
      configuration.autoCompactionRetention = "100ms"
    }
    try await withMember(change) { member in
      for number in 0..<20 { _ = try await member.kv.put(.init("a", "\(number)")) }
      var old = Etcdserverpb.RangeRequest("a")
      old.revision = 2
      // Bounded by calls, each of which takes a while; the compactor looks every 10 ms.
      for _ in 0..<100_000 {
        do {
          _ = try await member.kv.range(old)
          try await Task.sleep(for: .milliseconds(5))
        } catch let error as RPCError {
          #expect(error.status.message == "etcdserver: mvcc: required revision has been compacted")
          return
        }
      }
      Issue.record("no compaction came")
    }
  }
}
