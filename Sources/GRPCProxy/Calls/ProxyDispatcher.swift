import Proto
import RPC

/// Hands the calls of all services to the proxy of their event loop.
struct ProxyDispatcher: ServiceDispatcher {
  static let methods = ProxiedMethod.infos

  let proxy: ProxyLoop

  func start(_ method: Int, _ call: ServerCall) {
    if ProxiedMethod.all[method].kind == .watch {
      proxy.watches.start(call)
    } else {
      proxy.renewals.start(call)
    }
  }

  func receive(
    _ method: Int,
    _ message: UnsafeRawBufferPointer,
    _ call: ServerCall,
    _ arena: Arena
  ) {
    do throws(DecodeError) {
      switch ProxiedMethod.all[method].kind {
      case .watch:
        proxy.watches.receive(try Etcdserverpb.WatchRequest(decoding: message), call)
      case .keepAlive:
        proxy.renewals.receive(try Etcdserverpb.LeaseKeepAliveRequest(decoding: message), call)
      case .memberList where proxy.configuration.answersMemberList:
        proxy.answerMemberList(try Etcdserverpb.MemberListRequest(decoding: message), call)
      default:
        try proxy.forward(ProxiedMethod.all[method], message, call)
      }
    } catch {
      call.finish(.malformedRequest(error))
    }
  }

  func halfClose(_ method: Int, _ call: ServerCall) {
    // A watch goes on, as at the servers.
    if ProxiedMethod.all[method].kind == .keepAlive { proxy.renewals.halfClose(call) }
  }

  func cancel(_ method: Int, _ call: ServerCall) {
    switch ProxiedMethod.all[method].kind {
    case .watch: proxy.watches.cancel(call)
    case .keepAlive: proxy.renewals.cancel(call)
    default: proxy.cancelForwarded(call)
    }
  }
}
