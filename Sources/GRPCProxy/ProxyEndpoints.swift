import NIOCore
import Prometheus
import Proto
import RPC
import Synchronization

/// The way to the proxy's loop, for what answers plain HTTP; it is made after those.
final class ProxyGate: Sendable {
  private let inside = Mutex<(ProxyLoop, any EventLoop)?>(nil)

  func open(_ proxy: ProxyLoop, _ eventLoop: any EventLoop) {
    inside.withLock { $0 = (proxy, eventLoop) }
  }

  var upstream: Upstream? { inside.withLock { $0?.0.upstream } }

  func metrics() async -> [MetricFamily] {
    guard let (proxy, eventLoop) = inside.withLock({ $0 }) else { return [] }
    return (try? await eventLoop.submit { proxy.metrics }.get()) ?? []
  }
}

/// The plain HTTP endpoints: /metrics and /health, both also below /proxy as in newer releases of etcd.
struct ProxyEndpoints: HTTPHandler {
  private static let healthTimeout = TimeAmount.seconds(5)

  let gate: ProxyGate

  func respond(to request: HTTPRequest) async -> HTTPResponse {
    guard request.method == "GET" || request.method == "HEAD" else {
      return HTTPResponse(status: 405, text: "Method Not Allowed\n")
    }
    switch request.path {
    case "/metrics", "/proxy/metrics":
      return HTTPResponse(
        status: 200,
        text: Exposition.text(await gate.metrics()),
        contentType: Exposition.contentType
      )
    case "/health", "/proxy/health": return await health()
    default: return HTTPResponse(status: 404, text: "404 page not found\n")
    }
  }

  /// Whether a server answers a linearizable read. One that wants to know who asks does as well.
  private func health() async -> HTTPResponse {
    var reason = "the proxy is starting"
    if let upstream = gate.upstream {
      do {
        let _: Etcdserverpb.RangeResponse = try await upstream.unary(
          "/etcdserverpb.KV/Range",
          Etcdserverpb.RangeRequest(key: [UInt8(ascii: "a")], limit: 1, keysOnly: true),
          timeout: Self.healthTimeout
        )
        reason = ""
      } catch {
        let code = (error as? RPCError)?.code
        let isAnswer = code == .permissionDenied || code == .invalidArgument
        reason = isAnswer ? "" : "GET ERROR:\(error)"
      }
    }
    let text = #"{"health":"\#(reason.isEmpty)","reason":\#(JSONString.quoted(reason))}"#
    return HTTPResponse(
      status: reason.isEmpty ? 200 : 503,
      text: text,
      contentType: "application/json"
    )
  }
}

extension ProxyLoop {
  /// What the proxy counts, by etcd's names. On the event loop.
  var metrics: [MetricFamily] {
    let sharing = max(watches.watcherCount - watches.upstreamCount, 0)
    return [
      MetricFamily(
        MetricDefinition(
          "etcd_grpc_proxy_watchers_coalescing_total",
          .gauge,
          "Total number of current watchers coalescing"
        ),
        Double(sharing)
      ),
      MetricFamily(
        MetricDefinition(
          "etcd_grpc_proxy_events_coalescing_total",
          .counter,
          "Total number of events coalescing"
        ),
        Double(watches.counters.eventsCoalesced)
      ),
      MetricFamily(
        MetricDefinition(
          "etcd_grpc_proxy_cache_keys_total",
          .gauge,
          "Total number of keys/ranges cached"
        ),
        Double(cache.count)
      ),
      MetricFamily(
        MetricDefinition("etcd_grpc_proxy_cache_hits_total", .gauge, "Total number of cache hits"),
        Double(cache.hits)
      ),
      MetricFamily(
        MetricDefinition(
          "etcd_grpc_proxy_cache_misses_total",
          .gauge,
          "Total number of cache misses"
        ),
        Double(cache.misses)
      ),
    ]
  }
}
