import Proto
import Testing

/// What Python's protobuf writes and reads; see codegen/make-goldens.
struct GoldenTests {
  /// The same messages, in the same order, as `literals` of codegen/make-goldens.
  static let literals: [any Message] = {
    let key = Array("abcdefgh".utf8)
    let put = Etcdserverpb.PutRequest(
      key: key,
      value: Array(repeating: 7, count: 9),
      lease: -1,
      prevKV: true
    )
    return [
      put,
      Etcdserverpb.Compare(
        result: .notEqual,
        target: .value,
        key: key,
        targetUnion: .value([]),
        rangeEnd: [0]
      ),
      Etcdserverpb.Compare(result: .greater, target: .mod, key: key, targetUnion: .modRevision(0)),
      Etcdserverpb.TxnRequest(
        compare: [.init(result: .greater, key: key, targetUnion: .createRevision(5))],
        success: [
          .init(request: .requestPut(put)),
          .init(
            request: .requestTxn(.init(success: [.init(request: .requestRange(.init()))]))
          ),
        ],
        failure: [
          .init(request: .requestDeleteRange(.init(key: key, rangeEnd: [0]))), .init(),
        ]
      ),
      Etcdserverpb.RangeResponse(
        header: .init(clusterID: .max, memberID: 1, revision: 7, raftTerm: 2),
        kvs: [
          .init(
            key: key,
            createRevision: 3,
            modRevision: 7,
            version: 2,
            value: [0x76],
            lease: 1 << 62
          ),
          .init(),
        ],
        more: true,
        count: 300
      ),
      Etcdserverpb.WatchResponse(
        watchID: -1,
        canceled: true,
        cancelReason: "nul\0é",
        events: [.init(type: .delete, kv: .init(key: key, modRevision: 9))]
      ),
      Etcdserverpb.WatchRequest(
        requestUnion: .createRequest(
          .init(key: key, filters: [.noput, .nodelete, .init(rawValue: 7)], fragment: true)
        )
      ),
      Raftpb.Message(
        type: .msgStorageAppend,
        to: 1,
        term: 5,
        logTerm: 4,
        index: 100,
        entries: [.init(term: 5, index: 101, type: .entryConfChangeV2, data: [0x78])],
        commit: 99,
        snapshot: .init(
          data: [0x73],
          metadata: .init(confState: .init(voters: [1, .max], autoLeave: true), index: 9)
        ),
        reject: true,
        responses: [.init(type: .msgAppResp)]
      ),
      Etcdserverpb.InternalRaftRequest(
        header: .init(id: 7, username: "root"),
        put: put,
        downgradeVersionTest: .init()
      ),
      Etcdserverpb.MemberListResponse(members: [
        .init(id: 1, name: "m1", peerURLs: ["http://a", ""], isLearner: true)
      ]),
    ]
  }()

  @Test
  func valuesEncodeAsInPython() throws {
    let goldens = Golden.all(Goldens.literals)
    try #require(goldens.count == Self.literals.count)
    for (golden, value) in zip(goldens, Self.literals) {
      #expect(value.encoded() == golden.columns[0], "\(golden)")
      try expectEqual(value, decoding: golden.columns[0])
    }
  }

  private func expectEqual<Value: Message>(_ value: Value, decoding bytes: [UInt8]) throws {
    #expect(try Value(decoding: bytes) == value)
  }

  @Test
  func encodingsFromPythonAreCanonical() throws {
    let goldens = Golden.all(Goldens.canonical)
    #expect(Set(goldens.map { $0.type.messageName }).count == MessageDescriptor.count)
    for golden in goldens {
      let value = try golden.type.init(decoding: golden.columns[0])
      #expect(value.encoded() == golden.columns[0], "\(golden)")
    }
  }

  @Test
  func repeatedOccurrencesMergeAsInPython() throws {
    let goldens = Golden.all(Goldens.merged)
    #expect(goldens.count > 150)
    for golden in goldens {
      let value = try golden.type.init(decoding: golden.columns[0])
      #expect(value.encoded() == golden.columns[1], "\(golden)")
    }
  }

  @Test
  func whatPythonRefusesIsRefused() {
    let goldens = Golden.all(Goldens.rejected)
    #expect(goldens.count > 100)
    for golden in goldens {
      #expect(throws: DecodeError.self, "\(golden)") {
        try golden.type.init(decoding: golden.columns[0])
      }
    }
  }
}
