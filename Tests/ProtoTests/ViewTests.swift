import Proto
import Testing

struct ViewTests {
  /// Decodes in an arena and hands the view to `body`.
  private func view<View: MessageView>(
    _ value: some Message,
    as _: View.Type,
    _ body: (View) throws -> Void
  ) throws {
    let arena = Arena()
    var bytes = value.encoded()
    let view = try bytes.withUnsafeBytes { try View(decoding: $0, in: arena) }
    // A view does not refer to the bytes it came from.
    for index in bytes.indices { bytes[index] = 0xEE }
    try body(view)
    arena.reset()
  }

  @Test
  func scalarsAndBytes() throws {
    let value = Etcdserverpb.PutRequest(
      key: [1, 2],
      value: [3],
      lease: -9,
      prevKV: true,
      ignoreLease: true
    )
    try view(value, as: Etcdserverpb.PutRequest.View.self) { view in
      #expect([UInt8](view.key) == [1, 2])
      #expect([UInt8](view.value) == [3])
      #expect(view.lease == -9)
      #expect(view.prevKV && !view.ignoreValue && view.ignoreLease)
      #expect(Etcdserverpb.PutRequest(view) == value)
    }
    try view(Etcdserverpb.PutRequest(), as: Etcdserverpb.PutRequest.View.self) { view in
      #expect(view.key.isEmpty && view.value.isEmpty && view.lease == 0)
    }
  }

  @Test
  func messagesEnumsAndOneofs() throws {
    let value = Etcdserverpb.TxnRequest(
      compare: [
        .init(result: .less, target: .lease, key: [1], targetUnion: .lease(4)),
        .init(target: .init(rawValue: 77), targetUnion: .value([8])),
      ],
      success: [
        .init(request: .requestPut(.init(key: [5]))), .init(),
        .init(request: .requestRange(.init(sortOrder: .descend, sortTarget: .value))),
      ]
    )
    try view(value, as: Etcdserverpb.TxnRequest.View.self) { view in
      #expect(view.compare.count == 2 && view.success.count == 3 && view.failure.isEmpty)
      #expect(view.compare[0].result == .less && view.compare[0].target == .lease)
      guard case .lease(4)? = view.compare[0].targetUnion else {
        Issue.record("not a lease")
        return
      }
      #expect(view.compare[1].target.rawValue == 77)
      guard case .value(let bytes)? = view.compare[1].targetUnion else {
        Issue.record("not a value")
        return
      }
      #expect([UInt8](bytes) == [8])
      guard case .requestPut(let put)? = view.success[0].request else {
        Issue.record("not a put")
        return
      }
      #expect([UInt8](put.key) == [5])
      #expect(view.success[1].request == nil)
      guard case .requestRange(let range)? = view.success.last?.request else {
        Issue.record("not a range")
        return
      }
      #expect(range.sortOrder == .descend && range.sortTarget == .value)
      #expect(Etcdserverpb.TxnRequest(view) == value)
    }
  }

  @Test
  func repeatedFields() throws {
    let value = Etcdserverpb.InternalRaftRequest(
      leaseCheckpoint: .init(checkpoints: [.init(id: 1, remainingTTL: 2), .init(id: 3)]),
      authUserAdd: .init(name: "a", options: .init(noPassword: true))
    )
    try view(value, as: Etcdserverpb.InternalRaftRequest.View.self) { view in
      #expect(view.leaseCheckpoint?.checkpoints.map(\.id) == [1, 3])
      #expect(view.leaseCheckpoint?.checkpoints.first?.remainingTTL == 2)
      #expect(view.authUserAdd?.options?.noPassword == true)
      #expect(view.put == nil && view.header == nil)
    }
    let members = Etcdserverpb.Member(peerURLs: ["a", "", "bc"])
    try view(members, as: Etcdserverpb.Member.View.self) { view in
      #expect(view.peerURLs.map { String(decoding: $0, as: UTF8.self) } == ["a", "", "bc"])
      #expect(view.clientURLs.isEmpty)
    }
    let state = Raftpb.ConfState(voters: [1, .max, 3])
    try view(state, as: Raftpb.ConfState.View.self) { view in
      #expect(Array(view.voters) == [1, .max, 3])
    }
    let create = Etcdserverpb.WatchCreateRequest(filters: [.nodelete, .noput])
    try view(create, as: Etcdserverpb.WatchCreateRequest.View.self) { view in
      #expect(Array(view.filters) == [.nodelete, .noput])
    }
  }

  @Test
  func enumNames() {
    #expect(Etcdserverpb.AlarmType.nospace.description == "NOSPACE")
    #expect(Etcdserverpb.AlarmType(rawValue: 9).description == "9")
    #expect(Raftpb.MessageType.msgForgetLeader.rawValue == 23)
    #expect(Authpb.Permission.Kind.readwrite.rawValue == 2)
  }

  @Test
  func anArenaInSteadyUseKeepsItsMemory() throws {
    let arena = Arena()
    let bytes = Etcdserverpb.PutRequest(key: [1], value: Array(repeating: 2, count: 30_000))
      .encoded()
    try bytes.withUnsafeBytes { bytes in
      for _ in 0..<3 {
        arena.reset()
        for _ in 0..<10 { _ = try Etcdserverpb.PutRequest.View(decoding: bytes, in: arena) }
      }
      let held = arena.heldBytes
      for _ in 0..<20 {
        arena.reset()
        for _ in 0..<10 { _ = try Etcdserverpb.PutRequest.View(decoding: bytes, in: arena) }
        #expect(arena.heldBytes == held)
      }
    }
    #expect(arena.allocate(byteCount: Arena.defaultBytesMax) == nil)
    #expect(arena.allocate(byteCount: 0) != nil)
  }
}
