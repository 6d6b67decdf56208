import Base
import MVCC
import Proto
import Replica
import Testing

/// How requests go into the log and answers come back.
struct BatchTests {
  @Test func handlesNameALoopAndACall() {
    for (loop, call) in [(0, 0), (3, 77), (RequestHandle.loopsMax - 1, 1 << 44 - 1)]
      as [(Int, UInt64)]
    {
      let handle = RequestHandle(loop: loop, call: call)
      #expect(handle.loop == loop)
      #expect(handle.call == call)
      #expect(RequestHandle(rawValue: handle.rawValue) == handle)
    }
    #expect(RequestHandle.none.loop >= RequestHandle.loopsMax)
    #expect(RequestHandle(loop: 0, call: 5) != RequestHandle(loop: 5, call: 0))
  }

  @Test func aBatchHoldsInternalRaftRequests() throws {
    var batch = ProposalBatch(epoch: 0xfeed_beef_dead_cafe, capacity: 16)
    // A macro cannot look at a value that does not copy.
    let isNewEmpty = batch.isEmpty
    #expect(isNewEmpty)
    let put = Etcdserverpb.PutRequest(
      key: Array("k".utf8),
      value: [UInt8](repeating: 7, count: 300)
    )
    let compaction = Etcdserverpb.CompactionRequest(revision: 12, physical: true)
    put.encoded().withUnsafeBytes {
      batch.append(.put, handle: RequestHandle(loop: 1, call: 9), request: $0)
    }
    compaction.encoded().withUnsafeBytes { batch.append(.compaction, handle: .none, request: $0) }
    // An empty request is one all the same.
    [UInt8]().withUnsafeBytes {
      batch.append(.txn, handle: RequestHandle(loop: 0, call: 0), request: $0)
    }
    let (count, byteCount) = (batch.count, batch.byteCount)
    #expect(count == 3)
    let block = batch.take()
    #expect(block.count == byteCount)
    let isEmptyAgain = batch.isEmpty && batch.count == 0
    #expect(isEmptyAgain)

    let requests = ProposalBatch.requests(in: block)
    try #require(requests.count == 3)
    let messages = try requests.map { try Etcdserverpb.InternalRaftRequest(decoding: $0.array) }
    #expect(messages.allSatisfy { $0.header?.id == 0xfeed_beef_dead_cafe })
    #expect(messages[0].put == put)
    #expect(RequestHandle(rawValue: messages[0].id) == RequestHandle(loop: 1, call: 9))
    #expect(messages[1].compaction == compaction)
    #expect(RequestHandle(rawValue: messages[1].id) == .none)
    #expect(messages[2].txn == Etcdserverpb.TxnRequest())
    #expect(messages[2].id == 0)
    let rest = ProposalBatch.requests(in: batch.take())
    #expect(rest.isEmpty)
  }

  @Test func operationsAreFieldsOfInternalRaftRequest() throws {
    let cases: [(ReplicatedOperation, (Etcdserverpb.InternalRaftRequest) -> Bool)] = [
      (.put, { $0.put != nil }), (.deleteRange, { $0.deleteRange != nil }),
      (.txn, { $0.txn != nil }), (.compaction, { $0.compaction != nil }),
      (.clusterMemberAttributes, { $0.clusterMemberAttrSet != nil }),
    ]
    for (operation, isPresent) in cases {
      var batch = ProposalBatch(epoch: 1)
      [UInt8]().withUnsafeBytes { batch.append(operation, handle: .none, request: $0) }
      let requests = ProposalBatch.requests(in: batch.take())
      let request = try #require(requests.first)
      let message = try Etcdserverpb.InternalRaftRequest(decoding: request.array)
      #expect(isPresent(message), "\(operation)")
    }
  }

  @Test func storeErrorsKeepTheirNames() {
    let all: [(StoreError, RequestError)] = [
      (.keyNotProvided, .keyNotProvided), (.keyNotFound, .keyNotFound),
      (.valueProvided, .valueProvided), (.leaseProvided, .leaseProvided),
      (.leaseNotFound, .leaseNotFound), (.tooManyOperations, .tooManyOperations),
      (.duplicateKey, .duplicateKey), (.invalidSortOption, .invalidSortOption),
      (.compacted, .compacted), (.futureRevision, .futureRevision), (.noSpace, .noSpace),
      (.corrupt, .corrupt),
    ]
    for (store, request) in all { #expect(RequestError(store) == request) }
  }

  @Test func noErrorTravelsAsSuccess() {
    #expect(RequestError(rawValue: 0) == nil)
    #expect(Set(RequestError.allCases.map(\.rawValue)).count == RequestError.allCases.count)
  }
}
