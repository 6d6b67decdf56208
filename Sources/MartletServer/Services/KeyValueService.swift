import Auth
import Base
import MVCC
import Proto
import RPC
import Replica

/// The KV service of one event loop.
///
/// Writes are checked here and go through the log in the bytes they came in. Reads are answered
/// from the store: short ones here and now, long ones by the reader pool.
final class KeyValueService: KVService {
  private let loop: RequestLoop
  private let requestBytesMax: Int
  private let transactionOperationsMax: Int

  /// A range over more keys than this is a matter for the reader pool.
  static let keysOnLoopMax = 1000

  init(loop: RequestLoop) {
    self.loop = loop
    requestBytesMax = loop.shared.settings.requestBytesMax
    transactionOperationsMax = loop.shared.settings.transactionOperationsMax
  }

  func callCancelled(_ call: ServerCall) {
    loop.callCancelled(call.id)
  }

  // MARK: Writes

  func put(_ request: IncomingMessage<Etcdserverpb.PutRequest.View>, _ call: ServerCall) {
    guard loop.hasRoom(for: WriteCost.bytes(of: request.view), call) else { return }
    do throws(StoreError) {
      try Store.check(request.view)
    } catch {
      return call.finish(RPCStatus(RequestError(error)))
    }
    guard loop.admit(call, { $0.permits(request.view, loop.leaseKeys) }) != nil else { return }
    propose(.put, request.bytes, call)
  }

  func deleteRange(
    _ request: IncomingMessage<Etcdserverpb.DeleteRangeRequest.View>,
    _ call: ServerCall
  ) {
    do throws(StoreError) {
      try Store.check(request.view)
    } catch {
      return call.finish(RPCStatus(RequestError(error)))
    }
    guard loop.admit(call, { $0.permits(request.view) }) != nil else { return }
    propose(.deleteRange, request.bytes, call)
  }

  func txn(_ request: IncomingMessage<Etcdserverpb.TxnRequest.View>, _ call: ServerCall) {
    guard loop.hasRoom(for: WriteCost.bytes(of: request.view), call) else { return }
    do throws(StoreError) {
      try Store.check(request.view, maxOperations: transactionOperationsMax)
    } catch {
      return call.finish(RPCStatus(RequestError(error)))
    }
    // Asked again where it is applied; here, so that what is refused does not come to the log.
    guard let stamp = loop.admit(call, { $0.permits(request.view, loop.leaseKeys) }) else {
      return
    }
    guard Store.isReadOnly(request.view) else { return propose(.txn, request.bytes, call) }
    let isLocal = Store.isSerializable(request.view) || loop.shared.status.readsAreLocal
    if isLocal && loop.shared.store.estimateCount(request.view) <= Self.keysOnLoopMax {
      loop.answer(call, since: stamp) { (reply: inout ByteWriter) throws(StoreError) in
        try loop.shared.store.readOnlyTxn(
          request.view,
          header: loop.header,
          reader: loop.reader,
          into: &reply
        )
      }
    } else {
      let copy = ReadRequest.txn(SharedBytes(copying: request.bytes))
      if isLocal {
        loop.answerFromPool(copy, call, since: stamp)
      } else {
        loop.whenLinearizable(copy, call, since: stamp)
      }
    }
  }

  func compact(
    _ request: IncomingMessage<Etcdserverpb.CompactionRequest.View>,
    _ call: ServerCall
  ) {
    propose(.compaction, request.bytes, call)
  }

  private func propose(
    _ operation: ReplicatedOperation,
    _ bytes: UnsafeRawBufferPointer,
    _ call: ServerCall
  ) {
    guard bytes.count <= requestBytesMax else { return call.finish(RPCStatus(.requestTooLarge)) }
    loop.propose(operation, bytes, call)
  }

  // MARK: Reads

  func range(_ request: IncomingMessage<Etcdserverpb.RangeRequest.View>, _ call: ServerCall) {
    do throws(StoreError) {
      try Store.check(request.view)
    } catch {
      return call.finish(RPCStatus(RequestError(error)))
    }
    guard let stamp = loop.admit(call, { $0.permits(request.view) }) else { return }
    guard request.view.serializable || loop.shared.status.readsAreLocal else {
      if loop.shared.status.isLearner { return call.finish(RPCStatus(.learnerUnsupported)) }
      let copy = ReadRequest.range(SharedBytes(copying: request.bytes))
      return loop.whenLinearizable(copy, call, since: stamp)
    }
    if loop.isLong(request.view) {
      let copy = ReadRequest.range(SharedBytes(copying: request.bytes))
      return loop.answerFromPool(copy, call, since: stamp)
    }
    loop.answer(call, since: stamp) { (reply: inout ByteWriter) throws(StoreError) in
      try loop.shared.store.range(
        request.view,
        header: loop.header,
        reader: loop.reader,
        into: &reply
      )
    }
  }

  func rangeStream(
    _ request: IncomingMessage<Etcdserverpb.RangeRequest.View>,
    _ call: ServerCall
  ) {
    do throws(StoreError) {
      try Store.check(request.view)
    } catch {
      return call.finish(RPCStatus(RequestError(error)))
    }
    guard Store.isStreamable(request.view) else {
      return call.finish(
        .unimplemented("etcdserver: range stream does not support sorting or revision filters")
      )
    }
    guard let stamp = loop.admit(call, { $0.permits(request.view) }) else { return }
    guard loop.shared.readers.hasRoom else { return call.finish(RPCStatus(.tooManyRequests)) }
    // The cursor copies the request, and pins its revision until it is let go with the stream.
    let shared = loop.shared
    let bytesMax = requestBytesMax
    // Handed from one pool thread to the next, never used by two at a time.
    nonisolated(unsafe) let cursor: RangeCursor
    do throws(StoreError) {
      cursor = try shared.store.rangeCursor(request.view, header: shared.header)
    } catch {
      return call.finish(RPCStatus(RequestError(error)))
    }
    PumpedStream.start(loop, call.id, since: stamp) { reader, message, _ in
      do throws(StoreError) {
        let hasMore = try cursor.next(bytesMax: bytesMax, reader: reader, into: &message)
        return hasMore ? .more : .last
      } catch {
        return .failed(RPCStatus(RequestError(error)))
      }
    }
  }
}
