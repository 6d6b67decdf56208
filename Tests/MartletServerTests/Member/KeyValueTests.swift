import Base
import MartletServer
import Proto
import RPC
import Testing

@Suite("A running member: KV")
struct KeyValueTests {
  @Test("put, get, delete, and the header")
  func basics() async throws {
    try await withMember { member in
      let put = try await member.kv.put(Etcdserverpb.PutRequest("a", "1"))
      #expect(put.header?.revision == 2)
      #expect(put.header?.clusterID == 0xcdf8_1819_4e3a_8c32)
      #expect(put.header?.memberID == 0x8e9e_05c5_2164_694d)
      #expect((put.header?.raftTerm ?? 0) > 0)
      var second = Etcdserverpb.PutRequest("a", "2")
      second.prevKV = true
      #expect(try await member.kv.put(second).prevKV?.text == "a=1")

      let range = try await member.kv.range(Etcdserverpb.RangeRequest("a"))
      #expect(range.kvs.map(\.text) == ["a=2"])
      #expect(range.count == 1)
      #expect(range.kvs.first?.createRevision == 2)
      #expect(range.kvs.first?.modRevision == 3)
      #expect(range.kvs.first?.version == 2)
      var old = Etcdserverpb.RangeRequest("a")
      old.revision = 2
      old.serializable = true
      #expect(try await member.kv.range(old).kvs.map(\.text) == ["a=1"])

      let delete = try await member.kv.deleteRange(
        Etcdserverpb.DeleteRangeRequest(key: Array("a".utf8), prevKV: true)
      )
      #expect(delete.deleted == 1)
      #expect(delete.prevKVs.map(\.text) == ["a=2"])
      let again = try await member.kv.deleteRange(
        Etcdserverpb.DeleteRangeRequest(key: Array("a".utf8))
      )
      #expect(again.deleted == 0)
      #expect(again.header?.revision == 4)
    }
  }

  @Test("txns that write and txns that read")
  func transactions() async throws {
    try await withMember { member in
      let key = Array("a".utf8)
      var txn = Etcdserverpb.TxnRequest()
      txn.compare = [
        Etcdserverpb.Compare(target: .create, key: key, targetUnion: .createRevision(0))
      ]
      txn.success = [
        .init(request: .requestPut(Etcdserverpb.PutRequest("a", "1"))),
        .init(request: .requestPut(Etcdserverpb.PutRequest("b", "1"))),
      ]
      txn.failure = [.init(request: .requestRange(Etcdserverpb.RangeRequest("a", "z")))]
      let first = try await member.kv.txn(txn)
      #expect(first.succeeded && first.responses.count == 2)
      #expect(first.header?.revision == 2)
      let second = try await member.kv.txn(txn)
      #expect(!second.succeeded)
      guard case .responseRange(let range)? = second.responses.first?.response else {
        Issue.record("no range in \(second)")
        return
      }
      #expect(range.kvs.map(\.text) == ["a=1", "b=1"])
      var reading = Etcdserverpb.TxnRequest()
      reading.success = txn.failure
      #expect(try await member.kv.txn(reading).header?.revision == 2)
    }
  }

  @Test("compaction takes old revisions away, physical or not", arguments: [false, true])
  func compaction(isPhysical: Bool) async throws {
    try await withMember { member in
      for value in 0..<20 { _ = try await member.kv.put(.init("a", "\(value)")) }
      let request = Etcdserverpb.CompactionRequest(revision: 10, physical: isPhysical)
      #expect(try await member.kv.compact(request).header?.revision == 21)
      var old = Etcdserverpb.RangeRequest("a")
      old.revision = 9
      await expectFailure(
        .outOfRange,
        "etcdserver: mvcc: required revision has been compacted"
      ) { [old] in _ = try await member.kv.range(old) }
      old.revision = 10
      #expect(try await member.kv.range(old).kvs.map(\.text) == ["a=8"])
      await expectFailure(.outOfRange, "etcdserver: mvcc: required revision has been compacted") {
        _ = try await member.kv.compact(request)
      }
      await expectFailure(
        .outOfRange,
        "etcdserver: mvcc: required revision is a future revision"
      ) { _ = try await member.kv.compact(.init(revision: 22)) }
    }
  }

  @Test("a range stream brings all of a long list, in order, at one revision")
  func rangeStream() async throws {
    try await withMember { member in
      let count = 3000
      let padding = String(repeating: "x", count: 1000)
      try await withThrowingTaskGroup { tasks in
        for lane in 0..<10 {
          tasks.addTask {
            for number in stride(from: lane, to: count, by: 10) {
              _ = try await member.kv.put(.init("key-\(10000 + number)", padding))
            }
          }
        }
        try await tasks.waitForAll()
      }
      var keys: [[UInt8]] = []
      var messages = 0
      var revision: Int64 = 0
      for try await part in try await member.kv.rangeStream(.all) {
        let response = try #require(part.rangeResponse)
        messages += 1
        if let header = response.header { revision = max(revision, header.revision) }
        keys += response.kvs.map(\.key)
        // What is written meanwhile is not in the list.
        if messages == 1 { _ = try await member.kv.put(.init("zzz", "late")) }
      }
      #expect(keys == (0..<count).map { Array("key-\(10000 + $0)".utf8) })
      #expect(messages > 1)
      #expect(revision == Int64(count) + 1)
      // A long unary list goes by the reader pool.
      #expect(try await member.kv.range(.all).kvs.count == count + 1)
    }
  }

  @Test("clients that write at the same time get every revision once")
  func concurrentLoad() async throws {
    try await withMember { member in
      let lanes = 16
      let puts = 60
      let revisions = try await withThrowingTaskGroup { tasks in
        for lane in 0..<lanes {
          tasks.addTask {
            let client = RPCClient(
              address: .host("127.0.0.1", port: member.port),
              group: TestMember.group
            )
            var revisions: [Int64] = []
            for number in 0..<puts {
              let response = try await KVClient(client).put(.init("lane-\(lane)", "\(number)"))
              revisions.append(response.header?.revision ?? 0)
              let found = try await KVClient(client).range(.init("lane-\(lane)"))
              #expect(found.kvs.map(\.text) == ["lane-\(lane)=\(number)"])
            }
            #expect(revisions == revisions.sorted())
            await client.shutdown()
            return revisions
          }
        }
        return try await tasks.reduce(into: [Int64]()) { $0 += $1 }
      }
      #expect(revisions.sorted() == (2..<Int64(lanes * puts + 2)).map { $0 })
    }
  }

  @Test("requests that are refused before they are proposed")
  func refusals() async throws {
    let change = { (configuration: inout ServerConfiguration) in
      configuration.maxTxnOps = 2
    }
    try await withMember(change) { member in
      await expectFailure(.invalidArgument, "etcdserver: key is not provided") {
        _ = try await member.kv.put(.init("", "1"))
      }
      await expectFailure(.invalidArgument, "etcdserver: key is not provided") {
        _ = try await member.kv.range(.init(""))
      }
      await expectFailure(.notFound, "etcdserver: requested lease not found") {
        _ = try await member.kv.put(.init(key: [1], lease: 9))
      }
      await expectFailure(.invalidArgument, "etcdserver: value is provided") {
        _ = try await member.kv.put(.init(key: [1], value: [1], ignoreValue: true))
      }
      await expectFailure(.invalidArgument, "etcdserver: lease is provided") {
        _ = try await member.kv.put(.init(key: [1], lease: 1, ignoreLease: true))
      }
      await expectFailure(.invalidArgument, "etcdserver: key not found") {
        _ = try await member.kv.put(.init(key: [1], ignoreValue: true))
      }
      await expectFailure(.invalidArgument, "etcdserver: invalid sort option") {
        _ = try await member.kv.range(.init(key: [1], sortOrder: .init(rawValue: 7)))
      }
      var txn = Etcdserverpb.TxnRequest()
      txn.success = [.init(request: .requestPut(.init("a", "1")))]
      txn.success.append(txn.success[0])
      await expectFailure(
        .invalidArgument,
        "etcdserver: duplicate key given in txn request"
      ) { [txn] in _ = try await member.kv.txn(txn) }
      txn.success.append(txn.success[0])
      await expectFailure(
        .invalidArgument,
        "etcdserver: too many operations in txn request"
      ) { [txn] in _ = try await member.kv.txn(txn) }
      await expectFailure(
        .outOfRange,
        "etcdserver: mvcc: required revision is a future revision"
      ) { _ = try await member.kv.range(.init(key: [1], revision: 99)) }
      let revision = try await member.kv.range(.all).header?.revision
      #expect(revision == 1)
    }
  }

  @Test("requests over --max-request-bytes")
  func requestSize() async throws {
    let change = { (configuration: inout ServerConfiguration) in
      configuration.maxRequestBytes = 100_000
    }
    try await withMember(change) { member in
      let value = [UInt8](repeating: 1, count: 99_000)
      _ = try await member.kv.put(.init(key: [1], value: value))
      await expectFailure(.invalidArgument, "etcdserver: request is too large") {
        _ = try await member.kv.put(.init(key: [1], value: value + value))
      }
      // Far over it the transport refuses before it has read all.
      await expectFailure(.resourceExhausted) {
        _ = try await member.kv.put(
          .init(key: [1], value: [UInt8](repeating: 1, count: 1 << 20))
        )
      }
      #expect(try await member.kv.range(.all).count == 1)
    }
  }
}
