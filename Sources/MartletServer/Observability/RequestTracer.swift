import RPC
import Tracing

/// Makes a span of every gRPC call, by the tracer that the embedding program has bootstrapped. The
/// caller's span, in the metadata as the tracer's propagator has it (W3C's `traceparent` with most), is
/// its parent. Confined to one event loop.
final class RequestTracer: CallTracer {
  private final class Handle {
    let span: any Span

    init(_ span: any Span) {
      self.span = span
    }
  }

  private struct MetadataExtractor: Extractor {
    func extract(key: String, from carrier: [String: String]) -> String? {
      carrier[key.lowercased()]
    }
  }

  /// Metadata that a tracer does not get to see.
  private static let secrets: Set<String> = ["token", "authorization"]

  private let tracer: any Tracer

  init(_ tracer: any Tracer) {
    self.tracer = tracer
  }

  func callStarted(_ call: ServerCall, _ method: MethodInfo) -> AnyObject {
    var context = InstrumentationContext.topLevel
    let carrier = Dictionary(
      call.headers.filter { !Self.secrets.contains($0.name) }.map { ($0.name, $0.value) }
    ) { first, _ in first }
    tracer.extract(carrier, into: &context, using: MetadataExtractor())
    let path = String(method.path.dropFirst())
    let parts = path.split(separator: "/", maxSplits: 1).map(String.init)
    let span: any Span = tracer.startSpan(path, context: context, ofKind: .server)
    span.updateAttributes { attributes in
      attributes["rpc.system"] = "grpc"
      attributes["rpc.service"] = parts.first ?? ""
      attributes["rpc.method"] = parts.last ?? ""
      attributes["network.peer.address"] = call.peerAddress
    }
    return Handle(span)
  }

  func callEnded(_ handle: AnyObject, _ code: RPCCode) {
    guard let span = (handle as? Handle)?.span else { return }
    span.updateAttributes { $0["rpc.grpc.status_code"] = Int64(code.rawValue) }
    if Self.isServerFault(code) { span.setStatus(SpanStatus(code: .error, message: code.name)) }
    span.end()
  }

  /// The codes that OpenTelemetry's conventions count as errors of a server.
  private static func isServerFault(_ code: RPCCode) -> Bool {
    switch code {
    case .unknown, .deadlineExceeded, .unimplemented, .internal, .unavailable, .dataLoss: true
    default: false
    }
  }
}
