import Base
import MartletServer
import Proto
import RPC
import Testing

@Suite("A running member: alarms, quota, leadership and downgrades")
struct AlarmTests {
  static let own: UInt64 = 0x8e9e_05c5_2164_694d
  static let noSpace = "etcdserver: mvcc: database space exceeded"

  @Test("NOSPACE: raised by itself, a way out without a defragmentation, and over a restart")
  func quota() async throws {
    let folder = try TemporaryFolder()
    var member = try await TestMember.start(in: folder) { $0.quotaBackendBytes = 4 << 20 }
    let count = try await Self.fill(member)
    #expect((10...80).contains(count), "\(count) puts of 64 KiB into 4 MiB")
    try await Self.checkFull(member)
    await member.stop()

    member = try await TestMember.start(in: folder) { $0.quotaBackendBytes = 4 << 20 }
    try await Self.checkFull(member)
    let deleted = try await member.kv.deleteRange(.init(key: [0], rangeEnd: [0]))
    #expect(deleted.deleted == count)
    let revision = deleted.header?.revision ?? 0
    _ = try await member.kv.compact(.init(revision: revision, physical: true))
    // There is room, but whoever was told of the alarm decides when it is over.
    await expectFailure(.resourceExhausted, Self.noSpace) {
      _ = try await member.kv.put(.init("a", "1"))
    }
    let disarmed = try await member.maintenance.alarm(
      .init(action: .deactivate, memberID: Self.own, alarm: .nospace)
    )
    #expect(disarmed.alarms.count == 1)
    _ = try await member.kv.put(.init("a", "1"))
    let status = try await member.maintenance.status(.init())
    #expect(status.errors.isEmpty && status.dbSizeInUse < 1 << 20)
    #expect(status.dbSizeQuota == 4 << 20)
    let again = try await Self.fill(member)
    #expect(again >= count - 2, "freed pages are used again")
    await member.stop()
    withExtendedLifetime(folder) {}
  }

  /// Puts 64 KiB at a time until it is refused; returns how many went through.
  private static func fill(_ member: TestMember) async throws -> Int {
    let value = [UInt8](repeating: 7, count: 64 << 10)
    for number in 0..<1000 {
      do {
        _ = try await member.kv.put(.init(key: Array("fill-\(number)".utf8), value: value))
      } catch {
        #expect(error.code == .resourceExhausted && error.status.message == noSpace)
        return number
      }
    }
    return 1000
  }

  private static func checkFull(_ member: TestMember) async throws {
    // The alarm was proposed with the first refusal, so it is in the log before this request.
    let alarms = try await member.maintenance.alarm(.init(action: .get)).alarms
    #expect(alarms.map(\.alarm) == [.nospace] && alarms.map(\.memberID) == [own])
    let status = try await member.maintenance.status(.init())
    #expect(status.errors == ["memberID:\(own) alarm:NOSPACE "])
    #expect(status.dbSizeInUse <= status.dbSize)
    let put = Etcdserverpb.PutRequest("a", "1")
    let nested = Etcdserverpb.TxnRequest(success: [.init(request: .requestPut(put))])
    let txns = [
      nested,
      Etcdserverpb.TxnRequest(failure: [.init(request: .requestPut(put))]),
      Etcdserverpb.TxnRequest(success: [.init(request: .requestTxn(nested))]),
    ]
    for txn in txns {
      await expectFailure(.resourceExhausted, noSpace) { _ = try await member.kv.txn(txn) }
    }
    await expectFailure(.resourceExhausted, noSpace) { _ = try await member.kv.put(put) }
    #expect(try await member.kv.range(.init("fill-0")).count == 1)
    let delete = Etcdserverpb.RequestOp(
      request: .requestDeleteRange(.init(key: Array("none".utf8)))
    )
    #expect(try await member.kv.txn(.init(success: [delete])).succeeded)
  }

  @Test("no limit for a negative quota, etcd's for 0")
  func quotaValues() async throws {
    let folder = try TemporaryFolder()
    let member = try await TestMember.start(in: folder) { $0.quotaBackendBytes = -1 }
    #expect(try await member.maintenance.status(.init()).dbSizeQuota == 0)
    _ = try await member.kv.put(.init("a", "1"))
    await member.stop()
    withExtendedLifetime(folder) {}
    try await withMember { member in
      let status = try await member.maintenance.status(.init())
      #expect(status.dbSizeQuota == 2 << 30)
    }
  }

  @Test("alarms by request, as etcd answers them")
  func requests() async throws {
    typealias Request = Etcdserverpb.AlarmRequest
    try await withMember { member in
      func alarm(_ request: Request) async throws -> [String] {
        try await member.maintenance.alarm(request).alarms.map { "\($0.memberID):\($0.alarm)" }
      }
      let raise = Request(action: .activate, memberID: 7, alarm: .nospace)
      #expect(try await alarm(raise) == ["7:NOSPACE"])
      #expect(try await alarm(raise) == ["7:NOSPACE"])
      #expect(try await alarm(.init()) == ["7:NOSPACE"])
      #expect(try await alarm(.init(memberID: 9)) == ["7:NOSPACE"], "the member is not looked at")
      #expect(try await alarm(.init(alarm: .corrupt)) == [])
      await expectFailure(.resourceExhausted, Self.noSpace) {
        _ = try await member.kv.put(.init("a", "1"))
      }
      #expect(try await alarm(.init(action: .deactivate)) == [])
      #expect(try await alarm(.init(action: .deactivate, memberID: 9, alarm: .nospace)) == [])
      #expect(
        try await alarm(.init(action: .deactivate, memberID: 7, alarm: .nospace)) == ["7:NOSPACE"]
      )
      _ = try await member.kv.put(.init("a", "1"))
      for request in [Request(action: .init(rawValue: 9)), Request(alarm: .init(rawValue: 9))] {
        await expectFailure(.invalidArgument) {
          _ = try await member.maintenance.alarm(request)
        }
      }
    }
  }

  @Test("CORRUPT refuses changes, serves reads, and shows in the probes")
  func corrupt() async throws {
    try await withMember { member in
      _ = try await member.kv.put(.init("a", "1"))
      let alarm = Etcdserverpb.AlarmRequest(action: .activate, memberID: Self.own, alarm: .corrupt)
      _ = try await member.maintenance.alarm(alarm)
      let text = "etcdserver: corrupt cluster"
      let put = Etcdserverpb.PutRequest("a", "2")
      await expectFailure(.dataLoss, text) { _ = try await member.kv.put(put) }
      await expectFailure(.dataLoss, text) {
        _ = try await member.kv.deleteRange(.init(key: Array("a".utf8)))
      }
      await expectFailure(.dataLoss, text) {
        _ = try await member.kv.txn(.init(success: [.init(request: .requestPut(put))]))
      }
      await expectFailure(.dataLoss, text) { _ = try await member.kv.compact(.init(revision: 2)) }
      #expect(try await member.kv.range(.init("a")).kvs.map(\.text) == ["a=1"])
      #expect(try await member.maintenance.status(.init()).errors.count == 1)
      for (path, status, fragment) in [
        ("/health", 503, "ALARM CORRUPT"), ("/health?exclude=CORRUPT", 200, "true"),
        ("/health?exclude=NOSPACE", 503, "ALARM CORRUPT"),
        ("/readyz", 503, "data_corruption failed: alarm activated: CORRUPT"),
        ("/readyz?exclude=data_corruption", 200, "ok"), ("/livez", 200, "ok"),
      ] {
        let answer = try await HTTPExchange.get(path, port: member.port)
        #expect(answer.status == status && answer.body.contains(fragment), "\(path): \(answer)")
      }
      _ = try await member.maintenance.alarm(
        .init(action: .deactivate, memberID: Self.own, alarm: .corrupt)
      )
      _ = try await member.kv.put(put)
      #expect(try await HTTPExchange.get("/health", port: member.port).status == 200)
    }
  }

  @Test("leadership of a lone member")
  func moveLeader() async throws {
    try await withMember { member in
      let answer = try await member.maintenance.moveLeader(.init(targetID: Self.own))
      #expect(answer.header?.memberID == Self.own)
      for target: UInt64 in [0, 1] {
        await expectFailure(.failedPrecondition, "etcdserver: bad leader transferee") {
          _ = try await member.maintenance.moveLeader(.init(targetID: target))
        }
      }
    }
  }

  @Test("a downgrade: validated, begun once, over a restart, cancelled")
  func downgrade() async throws {
    typealias Request = Etcdserverpb.DowngradeRequest
    let folder = try TemporaryFolder()
    var member = try await TestMember.start(in: folder)
    for (version, text) in [
      ("3", "wrong downgrade target version format"), ("", "wrong downgrade target version format"),
      ("3.4", "invalid downgrade target version"), ("3.6", "invalid downgrade target version"),
      ("2.5", "invalid downgrade target version"),
    ] {
      for action in [Request.DowngradeAction.validate, .enable] {
        await expectFailure(.invalidArgument, "etcdserver: \(text)") {
          _ = try await member.maintenance.downgrade(.init(action: action, version: version))
        }
      }
    }
    let noJob = "etcdserver: no inflight downgrade job"
    await expectFailure(.failedPrecondition, noJob) {
      _ = try await member.maintenance.downgrade(.init(action: .cancel))
    }
    #expect(try await member.maintenance.downgrade(.init(version: "3.5")).version == "3.6")
    #expect(try await member.maintenance.status(.init()).downgradeInfo?.enabled == false)
    let enabled = try await member.maintenance.downgrade(.init(action: .enable, version: "3.5.1"))
    #expect(enabled.version == "3.6" && enabled.header != nil)
    await member.stop()

    member = try await TestMember.start(in: folder)
    let info = try await member.maintenance.status(.init()).downgradeInfo
    #expect(info?.enabled == true && info?.targetVersion == "3.5.0")
    for action in [Request.DowngradeAction.validate, .enable] {
      await expectFailure(
        .failedPrecondition,
        "etcdserver: cluster has a downgrade job in progress"
      ) {
        _ = try await member.maintenance.downgrade(.init(action: action, version: "3.5"))
      }
    }
    _ = try await member.maintenance.downgrade(.init(action: .cancel))
    await expectFailure(.failedPrecondition, noJob) {
      _ = try await member.maintenance.downgrade(.init(action: .cancel))
    }
    await expectFailure(.unknown) {
      _ = try await member.maintenance.downgrade(.init(action: .init(rawValue: 7)))
    }
    await member.stop()
    withExtendedLifetime(folder) {}
  }
}
