import Base
import HTTP2
import NIOCore
import Proto
import RPC

/// The keep-alive streams of all clients. Those of one identity share a stream to the server, and
/// renewals of one lease that wait at the same time share a request. Confined to the event loop.
final class RenewalHub {
  private let upstream: Upstream
  private var groups: [CallIdentity: RenewalGroup] = [:]
  private var members: [CallID: RenewalGroup] = [:]

  init(upstream: Upstream) {
    self.upstream = upstream
  }

  func start(_ call: ServerCall) {
    let identity = CallIdentity(call)
    let group =
      groups[identity]
      ?? RenewalGroup(upstream: upstream, identity: identity) { [unowned self] in leave($0) }
    groups[identity] = group
    members[call.id] = group
    group.join(call)
    call.sendHeaders()
  }

  func receive(_ request: Etcdserverpb.LeaseKeepAliveRequest, _ call: ServerCall) {
    members[call.id]?.renew(request.id, for: call)
  }

  func halfClose(_ call: ServerCall) {
    guard let group = members[call.id] else { return }
    group.halfClose(call)
  }

  func cancel(_ call: ServerCall) {
    leave(call)
  }

  private func leave(_ call: ServerCall) {
    guard let group = members.removeValue(forKey: call.id) else { return }
    group.leave(call)
    guard group.isEmpty else { return }
    group.close()
    groups[group.identity] = nil
  }
}

/// The keep-alive streams of one identity.
private final class RenewalGroup: UpstreamSink {
  private struct Member {
    let call: ServerCall
    var pending = 0
    var isHalfClosed = false
  }

  /// The most renewals that one client may have under way.
  private static let pendingMax = 16_384
  private static let path = "/etcdserverpb.Lease/LeaseKeepAlive"
  /// How long after a lost stream the next one begins.
  private static let retryMilliseconds: Int64 = 100

  let identity: CallIdentity
  private let upstream: Upstream
  private var stream: UpstreamCall?
  private var members: [CallID: Member] = [:]
  /// Who waits for the renewal of a lease.
  private var waiting: [Int64: [CallID]] = [:]
  private var isClosed = false
  /// Told of each call that ends from this side.
  private let onEnd: (ServerCall) -> Void

  init(
    upstream: Upstream,
    identity: CallIdentity,
    onEnd: @escaping (ServerCall) -> Void
  ) {
    self.upstream = upstream
    self.identity = identity
    self.onEnd = onEnd
  }

  var isEmpty: Bool { members.isEmpty }

  func join(_ call: ServerCall) {
    members[call.id] = Member(call: call)
  }

  func leave(_ call: ServerCall) {
    members[call.id] = nil
  }

  func close() {
    isClosed = true
    stream?.cancel()
    stream = nil
  }

  func renew(_ lease: Int64, for call: ServerCall) {
    guard var member = members[call.id] else { return }
    guard member.pending < Self.pendingMax else {
      finish(call, RPCStatus(.resourceExhausted, "etcdserver: too many requests"))
      return
    }
    member.pending += 1
    members[call.id] = member
    let isUnderWay = waiting[lease] != nil
    waiting[lease, default: []].append(call.id)
    if stream == nil {
      open()
    } else if !isUnderWay {
      send(lease)
    }
  }

  func halfClose(_ call: ServerCall) {
    members[call.id]?.isHalfClosed = true
    finishIfDone(call.id)
  }

  /// Begins a stream with all renewals that are waited for.
  private func open() {
    let headers = upstream.headers(Self.path, metadata: identity.metadata)
    let call = UpstreamCall(headers: headers, sink: self)
    stream = call
    upstream.start(call)
    for lease in waiting.keys.sorted() { send(lease) }
  }

  private func send(_ lease: Int64) {
    stream?.send(SharedBytes(encoding: Etcdserverpb.LeaseKeepAliveRequest(id: lease)))
  }

  func upstreamReceived(_ message: UnsafeRawBufferPointer) {
    guard let answer = try? Etcdserverpb.LeaseKeepAliveResponse(decoding: message) else { return }
    let bytes = SharedBytes(copying: message)
    for id in waiting.removeValue(forKey: answer.id) ?? [] {
      guard var member = members[id] else { continue }
      member.pending -= 1
      members[id] = member
      member.call.send(message: bytes)
      finishIfDone(id)
    }
  }

  private func finishIfDone(_ id: CallID) {
    guard let member = members[id], member.isHalfClosed, member.pending == 0 else { return }
    finish(member.call, .ok)
  }

  private func finish(_ call: ServerCall, _ status: RPCStatus) {
    call.finish(status)
    onEnd(call)
  }

  func upstreamEnded(_ end: CallEnd) {
    stream = nil
    guard !isClosed else { return }
    // A renewal may be asked for twice, so a stream that was lost is begun anew.
    let isLost = end.status.code == .unavailable && end.mayHaveBeenProcessed
    if isLost, !identity.requiresLeader {
      guard !waiting.isEmpty else { return }
      upstream.eventLoop.assumeIsolated().scheduleTask(
        in: .milliseconds(Self.retryMilliseconds)
      ) { [weak self] in
        guard let self, self.stream == nil, !self.waiting.isEmpty, !self.isClosed else { return }
        self.open()
      }
      return
    }
    waiting = [:]
    let status =
      end.status == .ok ? RPCStatus.unavailable("the server has ended the stream") : end.status
    let calls = members.values.map(\.call)
    for call in calls { finish(call, status) }
  }
}
