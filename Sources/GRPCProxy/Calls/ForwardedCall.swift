import Base
import Proto
import RPC

/// A call with one request that is passed on to a server, and its answer or stream of answers back.
/// Confined to the event loop.
final class ForwardedCall: UpstreamSink {
  private unowned let proxy: ProxyLoop
  let call: ServerCall
  let method: ProxiedMethod
  /// As the servers know it.
  let request: SharedBytes
  let effect: CacheEffect
  /// The cache's epoch when the call was passed on.
  let epoch: UInt64
  var upstream: UpstreamCall?
  /// How often an answer was too old.
  var staleAnswers = 0
  private var answer: SharedBytes?
  /// An answer that cannot be passed on.
  private var failure: RPCStatus?

  init(
    _ proxy: ProxyLoop,
    _ call: ServerCall,
    _ method: ProxiedMethod,
    _ request: SharedBytes,
    _ effect: CacheEffect,
    epoch: UInt64
  ) {
    self.proxy = proxy
    self.call = call
    self.method = method
    self.request = request
    self.effect = effect
    self.epoch = epoch
  }

  func upstreamReceived(_ message: UnsafeRawBufferPointer) {
    guard failure == nil else { return }
    do throws(DecodeError) {
      let message = try proxy.namespace.outward(message, of: method.kind)
      if method.info.responseStreaming {
        pass(message)
      } else {
        answer = message
      }
    } catch {
      failure = .internal("grpc: failed to unmarshal the received message: \(error)")
    }
  }

  /// Sends a message of a stream on, and holds the server back while the client is slow.
  private func pass(_ message: SharedBytes) {
    call.send(message: message)
    guard !call.isWritable else { return }
    upstream?.setPaused(true)
    call.whenWritable { [weak self] _ in self?.upstream?.setPaused(false) }
  }

  func upstreamEnded(_ end: CallEnd) {
    let status = end.status == .ok ? failure ?? .ok : end.status
    upstream = nil
    let answer = answer
    self.answer = nil
    proxy.ended(self, answer: answer, status)
  }
}
