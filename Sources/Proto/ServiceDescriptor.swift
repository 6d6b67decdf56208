/// One service and its methods; the generated constants hold one for each.
package struct ServiceDescriptor: Sendable {
  /// The full name: `etcdserverpb.KV`.
  package let name: String
  package let methods: [MethodDescriptor]
}

/// One method of a service.
package struct MethodDescriptor: Sendable {
  /// The name without its service: `Put`.
  package let name: String
  /// The path of its gRPC requests: `/etcdserverpb.KV/Put`.
  package let path: String
  package let isClientStreaming: Bool
  package let isServerStreaming: Bool
  package let request: MessageDescriptor
  package let response: MessageDescriptor
  /// Paths that take the request as JSON by POST; none for some methods.
  package let jsonRoutes: [String]
}
