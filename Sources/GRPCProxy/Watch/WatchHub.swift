import Proto
import RPC

/// The watch streams of all clients. Watches of one range, form and identity share a watch at the
/// server. Confined to the event loop.
final class WatchHub {
  private let upstream: Upstream
  private let namespace: Namespace
  private var groups: [CallIdentity: WatchGroup] = [:]
  private var streams: [CallID: ClientWatchStream] = [:]
  let counters = WatchCounters()

  init(upstream: Upstream, namespace: Namespace) {
    self.upstream = upstream
    self.namespace = namespace
  }

  /// How many watches the clients have, and how many of those the servers.
  var watcherCount: Int { streams.values.reduce(0) { $0 + $1.watchers.count } }
  var upstreamCount: Int { groups.values.reduce(0) { $0 + $1.watchCount } }

  func start(_ call: ServerCall) {
    let identity = CallIdentity(call)
    let group =
      groups[identity]
      ?? WatchGroup(upstream: upstream, identity: identity, namespace: namespace, counters) {
        [unowned self] in leave($0)
      }
    groups[identity] = group
    let stream = ClientWatchStream(call, group)
    streams[call.id] = stream
    group.join(stream)
    call.sendHeaders()
  }

  func receive(_ request: Etcdserverpb.WatchRequest, _ call: ServerCall) {
    guard let stream = streams[call.id] else { return }
    switch request.requestUnion {
    case .createRequest(var request)?:
      if !namespace.isEmpty { namespace.inward(&request) }
      stream.create(request)
    case .cancelRequest(let request)?: stream.cancel(request.watchID)
    case .progressRequest?: stream.group.requestProgress(for: stream)
    case nil: break
    }
  }

  func cancel(_ call: ServerCall) {
    guard let stream = streams[call.id] else { return }
    leave(stream)
  }

  private func leave(_ stream: ClientWatchStream) {
    streams[stream.call.id] = nil
    let group = stream.group
    group.leave(stream)
    guard group.isEmpty else { return }
    group.close()
    groups[group.identity] = nil
  }
}

/// What the watches have done since the start.
final class WatchCounters {
  /// Events that went to a client without coming from a server for it.
  var eventsCoalesced: UInt64 = 0
}
