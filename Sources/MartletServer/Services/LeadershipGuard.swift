import RPC
import Replica

/// Refuses the calls of one event loop that cannot be served for want of a leader, or by a learner.
/// Confined to its event loop; `Sendable` only for the task that looks once in a while, there too.
///
/// A call whose metadata say `hasleader: true` fails at once while there is no leader. Of the streams
/// among them, those that run are ended when the leader has been gone for three looks, one every
/// election timeout, as in etcd.
final class LeadershipGuard: @unchecked Sendable {
  private let calls: RPCServerLoop
  private let status: PublishedStatus
  // First used when all services are registered.
  private lazy var isStream = calls.methodInfos.map { $0.requestStreaming || $0.responseStreaming }
  private lazy var isForLearner = calls.methodInfos.map { Self.isForLearner($0.path) }
  /// Streams that want a leader; those that have ended are dropped now and then.
  private var streams: [CallID] = []
  private var looksWithoutLeader = 0
  private var streamsMax = LeadershipGuard.streamsMin

  /// How many looks without a leader end a stream.
  static let looksMax = 3
  private static let streamsMin = 64

  init(_ calls: RPCServerLoop, _ status: PublishedStatus) {
    self.calls = calls
    self.status = status
  }

  /// What a learner serves. Ranges are looked at again: only serializable ones are.
  private static func isForLearner(_ path: String) -> Bool {
    switch path {
    case "/etcdserverpb.KV/Range", "/etcdserverpb.Maintenance/Status",
      "/etcdserverpb.Maintenance/Snapshot", "/etcdserverpb.Cluster/MemberList":
      true
    default:
      path.hasPrefix("/grpc.")
    }
  }

  /// Why a call may not begin; nil when it may.
  func refusal(method: Int, _ call: ServerCall) -> RPCStatus? {
    if isStream[method] && wantsLeader(call) { note(call.id) }
    guard status.isHindered else { return nil }
    if status.isLearner && !isForLearner[method] { return RPCStatus(.learnerUnsupported) }
    if !status.hasLeader && wantsLeader(call) { return RPCStatus(.noLeader) }
    return nil
  }

  private func wantsLeader(_ call: ServerCall) -> Bool {
    call.withHeader(named: "hasleader") { value in
      value.map { $0.elementsEqual("true".utf8) } ?? false
    }
  }

  private func note(_ id: CallID) {
    streams.append(id)
    guard streams.count >= streamsMax else { return }
    streams.removeAll { calls.call($0) == nil }
    streamsMax = max(Self.streamsMin, streams.count * 2)
  }

  /// Once in an election timeout.
  func look() {
    guard !status.hasLeader else {
      looksWithoutLeader = 0
      return
    }
    looksWithoutLeader += 1
    guard looksWithoutLeader >= Self.looksMax, !streams.isEmpty else { return }
    let ending = streams
    streams = []
    for id in ending { calls.call(id)?.finish(RPCStatus(.noLeader)) }
    calls.flush()
  }
}
