import Base
import NIOCore
import Proto
import RPC

/// The proxy's part of the calls. Confined to the event loop, of which a proxy has one: only so can all
/// watches of one range, and all renewals of one lease, share.
final class ProxyLoop: @unchecked Sendable {
  // Sendable so that a reference can travel to the loop; nothing is touched elsewhere.

  let configuration: ProxyConfiguration
  let namespace: Namespace
  let upstream: Upstream
  let watches: WatchHub
  let renewals: RenewalHub
  private(set) var cache: RangeCache
  /// The newest revision that reads were answered with; kept when serializable ones are ordered.
  private var revisionSeen: Int64 = 0
  private var forwarded: [CallID: ForwardedCall] = [:]

  init(_ configuration: ProxyConfiguration, upstream: Upstream, loop: RPCServerLoop) {
    self.configuration = configuration
    self.upstream = upstream
    namespace = Namespace(configuration.namespace)
    cache = RangeCache(
      entriesMax: configuration.cacheEntriesMax,
      bytesMax: configuration.cacheBytesMax
    )
    watches = WatchHub(upstream: upstream, namespace: namespace)
    renewals = RenewalHub(upstream: upstream)
    upstream.onTurnEnded = { [unowned loop] in loop.flush() }
  }

  /// Passes a call with one request on. Throws when the request cannot be decoded.
  func forward(
    _ method: ProxiedMethod,
    _ message: UnsafeRawBufferPointer,
    _ call: ServerCall
  ) throws(DecodeError) {
    let identity = CallIdentity(call)
    guard message.count <= configuration.sendBytesMax else {
      let limit = configuration.sendBytesMax
      call.finish(
        RPCStatus(
          .resourceExhausted,
          "grpc: trying to send message larger than max (\(message.count) vs. \(limit))"
        )
      )
      return
    }
    let effect = try CacheEffect(method.kind, message, identity)
    if !configuration.ordersSerializableReads,
      case .read(let key, let isServed) = effect, isServed, let answer = cache.answer(to: key)
    {
      call.respond(message: answer)
      return
    }
    cache.apply(effect)
    let request = try namespace.inward(message, of: method.kind)
    let forwardedCall = ForwardedCall(self, call, method, request, effect, epoch: cache.epoch)
    forwarded[call.id] = forwardedCall
    pass(forwardedCall)
  }

  /// Sends a call's request to a server.
  private func pass(_ call: ForwardedCall) {
    let upstreamCall = UpstreamCall(
      headers: upstream.headers(
        call.method.info.path,
        metadata: call.call.passedMetadata,
        timeout: call.call.deadline.map { max($0 - .now(), .nanoseconds(1)) }
      ),
      sink: call
    )
    call.upstream = upstreamCall
    upstreamCall.send(call.request)
    upstreamCall.halfClose()
    upstream.start(upstreamCall)
  }

  /// The client has gone. What its server answers soon anyway is left to that: clients that leave with
  /// many calls would make the connection that all share look like an attack by resets.
  func cancelForwarded(_ call: ServerCall) {
    guard let forwardedCall = forwarded[call.id] else { return }
    let method = forwardedCall.method
    guard method.info.responseStreaming || method.kind == .lock || method.kind == .campaign else {
      return
    }
    forwarded[call.id] = nil
    forwardedCall.upstream?.cancel()
  }

  /// The call has ended at its server.
  func ended(_ call: ForwardedCall, answer: SharedBytes?, _ status: RPCStatus) {
    if configuration.ordersSerializableReads, let answer, isStale(answer, call.effect) {
      return askAnother(call)
    }
    forwarded[call.call.id] = nil
    // Also after failures: what was asked may have been done.
    if call.effect.isWrite { cache.apply(call.effect) }
    guard status == .ok else {
      call.call.finish(status)
      return
    }
    if let answer {
      if case .read(let key, _) = call.effect, call.epoch == cache.epoch,
        !configuration.ordersSerializableReads
      {
        cache.add(answer, to: key)
      }
      call.call.respond(message: answer)
    } else if call.method.info.responseStreaming {
      call.call.finish(.ok)
    } else {
      call.call.finish(.internal("cardinality violation: received no response message"))
    }
  }
}

/// Serializable reads in the order of revisions, whichever server answers.
extension ProxyLoop {
  /// How often each server is asked for a newer answer.
  private static let attemptsPerEndpoint = 5

  /// Whether the answer to a serializable read is older than one before. Notes it when it is newer.
  private func isStale(_ answer: SharedBytes, _ effect: CacheEffect) -> Bool {
    guard case .read(_, let isSerializable) = effect,
      let response = try? Etcdserverpb.RangeResponse(decoding: answer.array)
    else { return false }
    let revision = response.header?.revision ?? 0
    if isSerializable, revision < revisionSeen { return true }
    revisionSeen = max(revisionSeen, revision)
    return false
  }

  private func askAnother(_ call: ForwardedCall) {
    call.staleAnswers += 1
    guard call.staleAnswers <= Self.attemptsPerEndpoint * upstream.endpointCount else {
      forwarded[call.call.id] = nil
      let text = "no cluster members have a revision higher than the previously received revision"
      call.call.finish(RPCStatus(.unknown, "etcdclient: \(text)"))
      return
    }
    upstream.moveOn()
    pass(call)
  }
}
