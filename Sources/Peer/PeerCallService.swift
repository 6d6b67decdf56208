import Base
import Logging
import NIOCore
import Proto
import RPC
import Raft
import Synchronization

/// Answers the calls of peers on one event loop.
final class PeerCallService: PeerService, @unchecked Sendable {
  // Sendable so that a reference can travel to the loop; nothing is touched elsewhere.

  private unowned let transport: PeerTransport
  private let loop: RPCServerLoop
  /// Who sends on the streams of messages that stand.
  private var streams: [CallID: MemberID] = [:]
  private var snapshots: [CallID: IncomingSnapshot] = [:]

  init(transport: PeerTransport, loop: RPCServerLoop) {
    self.transport = transport
    self.loop = loop
  }

  private var configuration: PeerConfiguration { transport.configuration }
  private var handlers: PeerHandlers { transport.handlers }

  // MARK: Who calls

  /// Returns the member that calls, or nil after the call was refused.
  private func caller(_ call: ServerCall) -> MemberID? {
    do throws(RPCStatus) {
      return try PeerMetadata.caller(of: call, configuration, isRemoved: handlers.isRemoved)
    } catch {
      refuse(call, error)
      return nil
    }
  }

  private func refuse(_ call: ServerCall, _ status: RPCStatus) {
    let from = String((call.header(named: "martlet-from") ?? "unknown").prefix(Self.shownMax))
    if transport.complaints.isNew("\(from) \(status.message)") {
      transport.logger.warning(
        "a call of a peer is refused, as will be others like it",
        metadata: [
          "peer": "\(from)",
          "cluster": .string(
            String((call.header(named: "martlet-cluster") ?? "unknown").prefix(Self.shownMax))
          ),
          "address": "\(call.peerAddress)", "cause": "\(status.message)",
        ]
      )
    }
    call.finish(status)
  }

  /// So much of what a stranger says of itself goes into the log.
  private static let shownMax = 32

  /// Ends the streams of members that have been removed. From any thread.
  func refuseRemoved() {
    loop.eventLoop.execute { [self] in
      for (id, from) in streams where handlers.isRemoved(from) {
        streams[id] = nil
        guard let call = loop.call(id) else { continue }
        refuse(call, RPCStatus(.permissionDenied, PeerMetadata.removedText))
      }
      loop.flush()
    }
  }

  // MARK: Messages

  func raftStreamStarted(_ call: ServerCall) {
    guard let from = caller(call) else { return }
    streams[call.id] = from
    let greeting = Martletpb.PeerGreeting(
      clusterID: configuration.clusterID.rawValue,
      memberID: configuration.memberID.rawValue,
      protocolVersion: PeerConfiguration.protocolVersion,
      serverVersion: configuration.serverVersion
    )
    call.send { greeting.encode(into: &$0) }
    transport.cameIn(from)
  }

  func raftStream(_ request: IncomingMessage<Martletpb.RaftBatch.View>, _ call: ServerCall) {
    guard let from = streams[call.id] else { return }
    let traffic = transport.traffic(with: from)
    traffic?.receivedBytes.add(request.bytes.count, ordering: .relaxed)
    do throws(RaftDecoder.Failure) {
      let messages = try RaftDecoder.messages(
        request.view,
        from: from,
        to: configuration.memberID
      )
      transport.received(messages, from: from)
    } catch {
      transport.counters.refusedBatches.add(1, ordering: .relaxed)
      traffic?.receiveFailures.add(1, ordering: .relaxed)
      streams[call.id] = nil
      refuse(call, RPCStatus(.invalidArgument, error.description))
    }
  }

  func raftStreamEnded(_ call: ServerCall) {
    streams[call.id] = nil
    call.finish(.ok)
  }

  func callCancelled(_ call: ServerCall) {
    streams[call.id] = nil
    snapshots.removeValue(forKey: call.id)?.abandon()
  }

  // MARK: Snapshots

  func snapshotStreamStarted(_ call: ServerCall) {
    guard let from = caller(call) else { return }
    snapshots[call.id] = IncomingSnapshot(
      from: from,
      configuration: configuration,
      handlers: handlers,
      traffic: transport.traffic(with: from),
      loop: loop,
      call: call.id,
      ended: { [weak self] in self?.snapshots[call.id] = nil }
    )
  }

  func snapshotStream(
    _ request: IncomingMessage<Martletpb.SnapshotChunk.View>,
    _ call: ServerCall
  ) {
    guard let snapshot = snapshots[call.id] else { return }
    transport.heard(from: snapshot.from)
    do throws(RPCStatus) {
      try snapshot.take(request.view)
    } catch {
      snapshots[call.id] = nil
      snapshot.abandon()
      refuse(call, error)
    }
  }

  func snapshotStreamEnded(_ call: ServerCall) {
    // A whole snapshot answers by itself once it is verified.
    guard let snapshot = snapshots[call.id], !snapshot.isWhole else { return }
    snapshots[call.id] = nil
    snapshot.abandon()
    call.finish(RPCStatus(.invalidArgument, "the snapshot ended before its last part"))
  }

  // MARK: Questions

  func leaseRenew(
    _ request: IncomingMessage<Martletpb.LeaseRenewRequest.View>,
    _ call: ServerCall
  ) {
    answer(call, Martletpb.LeaseRenewRequest(request.view), handlers.requests.leaseRenew)
  }

  func leaseTimeToLive(
    _ request: IncomingMessage<Etcdserverpb.LeaseTimeToLiveRequest.View>,
    _ call: ServerCall
  ) {
    answer(
      call,
      Etcdserverpb.LeaseTimeToLiveRequest(request.view),
      handlers.requests.leaseTimeToLive
    )
  }

  func memberPromote(
    _ request: IncomingMessage<Etcdserverpb.MemberPromoteRequest.View>,
    _ call: ServerCall
  ) {
    answer(call, Etcdserverpb.MemberPromoteRequest(request.view), handlers.requests.memberPromote)
  }

  func clusterState(
    _ request: IncomingMessage<Martletpb.ClusterStateRequest.View>,
    _ call: ServerCall
  ) {
    // Also for those who are about to join and have no ID yet.
    answer(
      call,
      Martletpb.ClusterStateRequest(request.view),
      handlers.requests.clusterState,
      isPublic: true
    )
  }

  func hashAtIndex(
    _ request: IncomingMessage<Martletpb.HashAtIndexRequest.View>,
    _ call: ServerCall
  ) {
    answer(call, Martletpb.HashAtIndexRequest(request.view), handlers.requests.hashAtIndex)
  }

  func hashKV(_ request: IncomingMessage<Etcdserverpb.HashKVRequest.View>, _ call: ServerCall) {
    answer(call, Etcdserverpb.HashKVRequest(request.view), handlers.requests.hashKV)
  }

  private func answer<Request: Sendable, Response: Proto.Message & Sendable>(
    _ call: ServerCall,
    _ request: Request,
    _ handler: PeerRequests.Answer<Request, Response>?,
    isPublic: Bool = false
  ) {
    let hasName = call.header(named: "martlet-from") != nil
    let from: MemberID
    if isPublic && !hasName {
      from = .none
    } else {
      guard let caller = caller(call) else { return }
      from = caller
      transport.heard(from: caller)
    }
    guard let handler else {
      call.finish(.unimplemented("this member does not answer that"))
      return
    }
    let (loop, id) = (loop, call.id)
    Task {
      let result: Result<Response, RPCStatus>
      do throws(RPCStatus) {
        result = .success(try await handler(request, from))
      } catch {
        result = .failure(error)
      }
      loop.eventLoop.execute {
        guard let call = loop.call(id) else { return }
        switch result {
        case .success(let response): call.respond { response.encode(into: &$0) }
        case .failure(let status): call.finish(status)
        }
        loop.flush()
      }
    }
  }
}
