import Base
import Logging
import Membership
import NIOCore
import NIOPosix
import Peer
import Proto
import RPC
import Raft
import Synchronization
import Testing

/// Transports that talk over real sockets.
@Suite(.timeLimit(.minutes(10))) struct TransportTests {
  @Test func messagesReachTheOtherInTheirOrder() async throws {
    let folder = try SocketFolder()
    let (a, b) = (try await TestPeer.start(1, in: folder), try await TestPeer.start(2, in: folder))
    a.transport.update(peers: [a.address, b.address])
    b.transport.update(peers: [a.address, b.address])
    try await eventually("streams") {
      a.transport.connectedSince(b.id) != nil && b.transport.connectedSince(a.id) != nil
    }
    for number in 0..<500 { a.transport.send([a.message(to: b.id, UInt64(number))]) }
    try await eventually("500 messages") { b.recorder.value.messages.count == 500 }
    #expect(b.recorder.value.messages.map(\.commit.rawValue) == Array(0..<500))
    b.transport.send([b.message(to: a.id, 7)])
    try await eventually("the answer") { a.recorder.value.messages.count == 1 }
    #expect(a.transport.lastHeard(from: b.id) != nil)
    await a.stop()
    await b.stop()
  }

  @Test func largeEntriesArriveWhole() async throws {
    let folder = try SocketFolder()
    let (a, b) = (try await TestPeer.start(1, in: folder), try await TestPeer.start(2, in: folder))
    a.transport.update(peers: [b.address])
    try await eventually("a stream") { a.transport.connectedSince(b.id) != nil }
    var random = SplitMix64(seed: 11)
    var sent: [Entry] = []
    for round in 0..<30 {
      var message = Raft.Message(.app, from: a.id, to: b.id, term: Term(1))
      message.index = LogIndex(UInt64(sent.count))
      for size in [10, 5000, 300_000 / (round + 1)] {
        let bytes = (0..<size).map { _ in UInt8(random.next() & 0xFF) }
        let index = LogIndex(UInt64(sent.count + 1))
        sent.append(Entry(term: Term(1), index: index, payload: .normal(SharedBytes(bytes))))
        message.entries.append(sent[sent.count - 1])
      }
      a.transport.send([message])
    }
    try await eventually("all messages") { b.recorder.value.messages.count == 30 }
    #expect(b.recorder.value.messages.flatMap(\.entries) == sent)
    await a.stop()
    await b.stop()
  }

  @Test func theAddressesOfAPeerAreTriedInTurn() async throws {
    let folder = try SocketFolder()
    let (a, b) = (try await TestPeer.start(1, in: folder), try await TestPeer.start(2, in: folder))
    let nobody = try ServerURL("unix://\(folder.path)/9.sock")
    a.transport.update(peers: [PeerAddress(id: b.id, urls: [nobody, b.url])])
    try await eventually("a stream") { a.transport.connectedSince(b.id) != nil }
    await a.stop()
    await b.stop()
  }

  @Test func aPeerThatComesBackIsFoundAgain() async throws {
    let folder = try SocketFolder()
    let a = try await TestPeer.start(1, in: folder)
    var b = try await TestPeer.start(2, in: folder)
    a.transport.update(peers: [b.address])
    try await eventually("a stream") { a.transport.connectedSince(b.id) != nil }
    await b.stop()
    try await eventually("the loss") { a.transport.connectedSince(b.id) == nil }
    #expect(a.recorder.value.unreachable[b.id, default: 0] > 0)
    #expect(a.recorder.value.connected[b.id, default: 0] == 1)
    b = try await TestPeer.start(2, in: folder)
    try await eventually("a stream again") { a.transport.connectedSince(b.id) != nil }
    try await eventually("word of it") { a.recorder.value.connected[b.id, default: 0] == 2 }
    a.transport.send([a.message(to: b.id, 3)])
    try await eventually("a message") { b.recorder.value.messages.count == 1 }
    await a.stop()
    await b.stop()
  }

  /// Nobody repeats a proposal, so it waits for the peer; what Raft repeats does not.
  @Test func proposalsWaitForAPeerThatIsAway() async throws {
    let folder = try SocketFolder()
    let a = try await TestPeer.start(1, in: folder)
    let url = try ServerURL("unix://\(folder.path)/2.sock")
    let away = PeerAddress(id: MemberID(2), urls: [url])
    a.transport.update(peers: [away])
    try await eventually("failed attempts") {
      a.recorder.value.unreachable[away.id, default: 0] > 2
    }
    for number in 1...100 {
      var message = Raft.Message(.propose, from: a.id, to: away.id, term: .zero)
      message.context = UInt64(number)
      a.transport.send([message, Raft.Message(.app, from: a.id, to: away.id, term: Term(1))])
    }
    try await eventually("failures") { a.recorder.value.unreachable[away.id, default: 0] > 10 }
    let b = try await TestPeer.start(2, in: folder)
    try await eventually("the proposals") {
      b.recorder.value.messages.filter { $0.kind == .propose }.count == 100
    }
    let proposals = b.recorder.value.messages.filter { $0.kind == .propose }
    #expect(proposals.map(\.context) == Array(1...100))
    await a.stop()
    await b.stop()
  }

  /// P6. Both ways: nothing is received, and the log says so once, not with every attempt.
  @Test func membersOfDifferentClustersDoNotTalk() async throws {
    let folder = try SocketFolder()
    let a = try await TestPeer.start(1, in: folder)
    let b = try await TestPeer.start(2, in: folder, cluster: 0xC2)
    a.transport.update(peers: [b.address])
    b.transport.update(peers: [a.address])
    for number in 0..<50 {
      a.transport.send([a.message(to: b.id, UInt64(number))])
      b.transport.send([b.message(to: a.id, UInt64(number))])
      try await Task.sleep(for: .milliseconds(4))
    }
    for (one, other) in [(a, b), (b, a)] {
      try await eventually("a line") { one.lines.count(containing: "cluster ID mismatch") > 0 }
      #expect(one.recorder.value.messages.isEmpty)
      #expect(one.transport.connectedSince(other.id) == nil)
      #expect(one.lines.count(containing: "a call of a peer is refused") == 1)
      #expect(one.lines.count(containing: "no stream to a peer") == 1)
      await #expect(throws: RPCError.self) {
        try await one.transport.call(other.id, timeout: .seconds(5)) {
          peer,
          options throws(RPCError) in
          try await peer.leaseRenew(Martletpb.LeaseRenewRequest(), options: options)
        }
      }
    }
    await a.stop()
    await b.stop()
  }

  @Test func whoeverIsNotWhoWasCalledIsRefused() async throws {
    let folder = try SocketFolder()
    let (a, b) = (try await TestPeer.start(1, in: folder), try await TestPeer.start(2, in: folder))
    a.transport.update(peers: [PeerAddress(id: MemberID(3), urls: [b.url])])
    try await eventually("a line") { a.lines.count(containing: "member ID mismatch") == 1 }
    #expect(a.transport.connectedSince(MemberID(3)) == nil)
    await a.stop()
    await b.stop()
  }

  @Test func aRemovedMemberIsRefusedAndToldSo() async throws {
    let folder = try SocketFolder()
    let (a, b) = (try await TestPeer.start(1, in: folder), try await TestPeer.start(2, in: folder))
    a.transport.update(peers: [b.address])
    b.transport.update(peers: [a.address])
    try await eventually("a stream") { a.transport.connectedSince(b.id) != nil }
    b.recorder.change { $0.removed = [a.id] }
    b.transport.update(peers: [])
    try await eventually("the word of it") { a.recorder.value.selfRemoved > 0 }
    let before = b.recorder.value.messages.count
    for number in 0..<20 { a.transport.send([a.message(to: b.id, UInt64(number))]) }
    try await eventually("a refusal") { b.lines.count(containing: "permanently removed") == 1 }
    #expect(b.recorder.value.messages.count == before)
    await a.stop()
    await b.stop()
  }

  @Test func whatDoesNotFitIsDroppedAndRaftHearsOfIt() async throws {
    let folder = try SocketFolder()
    let a = try await TestPeer.start(1, in: folder)
    let nobody = PeerAddress(id: MemberID(2), urls: [try ServerURL("unix://\(folder.path)/9.sock")])
    a.transport.update(peers: [nobody])
    let bytes = SharedBytes([UInt8](repeating: 1, count: 1 << 20))
    for number in 1...2000 {
      var message = Raft.Message(.app, from: a.id, to: nobody.id, term: Term(1))
      message.entries = [
        Entry(term: Term(1), index: LogIndex(UInt64(number)), payload: .normal(bytes))
      ]
      a.transport.send([message])
    }
    try await eventually("unreachable") { a.recorder.value.unreachable[nobody.id, default: 0] > 0 }
    await a.stop()
  }

  /// A replica that takes nothing costs no more memory than the bound.
  @Test func whatComesFasterThanItIsTakenIsDropped() async throws {
    let folder = try SocketFolder()
    let a = try await TestPeer.start(1, in: folder)
    let b = try await TestPeer.start(2, in: folder) { configuration, _ in
      configuration.receivedBytesMax = 100_000
    }
    b.recorder.change { $0.takes = false }
    a.transport.update(peers: [b.address])
    try await eventually("a stream") { a.transport.connectedSince(b.id) != nil }
    let bytes = SharedBytes([UInt8](repeating: 1, count: 10_000))
    for number in 1...50 {
      var message = Raft.Message(.app, from: a.id, to: b.id, term: Term(1))
      let index = LogIndex(UInt64(number))
      message.entries = [Entry(term: Term(1), index: index, payload: .normal(bytes))]
      a.transport.send([message])
      let seen = number
      try await eventually("message \(number)") {
        let dropped = b.transport.counters.receivedDropped.load(ordering: .relaxed)
        return b.recorder.value.messages.count + dropped >= seen
      }
    }
    #expect(b.recorder.value.messages.count == 9)
    await a.stop()
    await b.stop()
  }

  @Test func snapshotMessagesGoToWhoeverSendsSnapshots() async throws {
    let folder = try SocketFolder()
    let a = try await TestPeer.start(1, in: folder)
    let message = Raft.Message(.snapshot, from: a.id, to: MemberID(2), term: Term(1))
    a.transport.send([message])
    #expect(a.recorder.value.snapshots.count == 1)
    await a.stop()
  }

  @Test func aSecondListenerOnAnAddressFailsClearly() async throws {
    let folder = try SocketFolder()
    let a = try await TestPeer.start(1, in: folder)
    let b = try await TestPeer.start(2, in: folder)
    let bound = try await a.transport.listen(on: [try ServerURL("http://127.0.0.1:0")])
    await #expect(throws: PeerListenError.self) {
      _ = try await b.transport.listen(on: [try ServerURL("http://\(bound[0])")])
    }
    await a.stop()
    await b.stop()
  }
}

/// Peers that lie: calls of the service made by hand.
@Suite(.timeLimit(.minutes(10))) struct LyingPeerTests {
  static let group = MultiThreadedEventLoopGroup.singleton

  static func options(
    from: UInt64 = 2,
    to: UInt64 = 1,
    cluster: UInt64 = 0xC1,
    version: String = "1"
  ) -> CallOptions {
    CallOptions(
      timeout: .seconds(20),
      metadata: [
        ("martlet-cluster", String(cluster, radix: 16)), ("martlet-from", String(from, radix: 16)),
        ("martlet-to", String(to, radix: 16)), ("martlet-protocol", version),
      ]
    )
  }

  /// How a stream ends on which `batch` was sent after the greeting.
  static func end(
    _ peer: TestPeer,
    _ options: CallOptions,
    _ batch: Martletpb.RaftBatch?
  ) async throws -> RPCStatus? {
    let client = RPCClient(address: .unix(path: peer.url.host), group: group)
    var status: RPCStatus?
    do {
      let call = try await PeerClient(client).raftStream(options: options)
      var answers = call.responses.makeAsyncIterator()
      _ = try await answers.next()
      if let batch { await call.send(batch) }
      if batch == nil { call.finishSending() }
      while try await answers.next() != nil {}
    } catch let error as RPCError {
      status = error.status
    }
    await client.shutdown()
    return status
  }

  static func message(from: UInt64 = 2, to: UInt64 = 1, type: Int32 = 8) -> Martletpb.RaftBatch {
    var message = Raftpb.Message()
    message.type = Raftpb.MessageType(rawValue: type)
    (message.from, message.to, message.term) = (from, to, 1)
    return Martletpb.RaftBatch(messages: [message])
  }

  @Test func everyLieEndsTheStreamAndNothingElse() async throws {
    let folder = try SocketFolder()
    let peer = try await TestPeer.start(1, in: folder)
    let refused: [(CallOptions, RPCCode)] = [
      (CallOptions(), .invalidArgument),
      (Self.options(cluster: 0xC2), .failedPrecondition),
      (Self.options(to: 5), .failedPrecondition),
      (Self.options(from: 1), .failedPrecondition),
      (Self.options(from: 0), .invalidArgument),
      (Self.options(version: "2"), .failedPrecondition),
    ]
    for (options, code) in refused {
      let status = try await Self.end(peer, options, nil)
      #expect(status?.code == code, "\(options.metadata)")
    }
    let lies = [
      Self.message(from: 3), Self.message(to: 3), Self.message(type: 0), Self.message(type: 7),
      Self.message(type: 19), Self.message(type: -1),
    ]
    for lie in lies {
      let status = try await Self.end(peer, Self.options(), lie)
      #expect(status?.code == .invalidArgument, "\(lie)")
    }
    #expect(peer.recorder.value.messages.isEmpty)
    #expect(try await Self.end(peer, Self.options(), nil) == nil)
    await peer.stop()
  }

  @Test func questionsAreAnsweredForMembersOnly() async throws {
    let folder = try SocketFolder()
    let peer = try await TestPeer.start(1, in: folder) { _, handlers in
      handlers.requests.leaseRenew = { request, from throws(PeerRefusal) in
        if request.iDs.isEmpty { throw PeerRefusal(.notFound, "no lease of \(from)") }
        return Martletpb.LeaseRenewResponse(
          renewals: request.iDs.map { Martletpb.LeaseRenewal(id: $0, ttl: 60) }
        )
      }
      handlers.requests.clusterState = { _, from throws(PeerRefusal) in
        Martletpb.ClusterStateResponse(clusterID: 0xC1, memberID: from.rawValue)
      }
    }
    let other = try await TestPeer.start(2, in: folder)
    other.transport.update(peers: [peer.address])
    let answer = try await other.transport.call(peer.id, timeout: .seconds(20)) {
      peer,
      options throws(RPCError) in
      try await peer.leaseRenew(Martletpb.LeaseRenewRequest(iDs: [4, 5]), options: options)
    }
    #expect(answer.renewals.map(\.id) == [4, 5])
    do throws(RPCError) {
      _ = try await other.transport.call(peer.id, timeout: .seconds(20)) {
        peer,
        options throws(RPCError) in
        try await peer.leaseRenew(Martletpb.LeaseRenewRequest(), options: options)
      }
      Issue.record("no refusal")
    } catch {
      #expect(error.status == RPCStatus(.notFound, "no lease of \(other.id)"))
    }
    do throws(RPCError) {
      _ = try await other.transport.call(MemberID(77), timeout: .seconds(20)) {
        peer,
        options throws(RPCError) in
        try await peer.leaseRenew(Martletpb.LeaseRenewRequest(), options: options)
      }
      Issue.record("an unknown peer answers")
    } catch {
      #expect(error.code == .unavailable && !error.mayHaveBeenProcessed)
    }
    // Who is no member yet may ask who is one, and nothing else.
    let state = try await PeerTransport.clusterState(at: peer.url, tls: nil, timeout: .seconds(20))
    #expect(state.clusterID == 0xC1 && state.memberID == 0)
    let client = RPCClient(address: .unix(path: peer.url.host), group: Self.group)
    await #expect(throws: RPCError.self) {
      _ = try await PeerClient(client).leaseRenew(Martletpb.LeaseRenewRequest(iDs: [1]))
    }
    await client.shutdown()
    await peer.stop()
    await other.stop()
  }
}
