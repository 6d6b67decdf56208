package import HTTP2
package import NIOCore

/// The path of a method with the fixed part of its requests' headers.
package struct MethodPath: Sendable, Hashable {
  package let path: String

  /// `path` is `/package.Service/Method`.
  package init(_ path: String) {
    self.path = path
  }
}

/// What a caller may say about one call.
package struct CallOptions: Sendable {
  /// Time until the call ends with DeadlineExceeded, connecting included; nil never.
  package var timeout: TimeAmount?
  /// Sent with the request. Names in lower case; the values of names that end in `-bin` must be
  /// base64, see `Base64`.
  package var metadata: [(name: String, value: String)]
  /// Sends request messages as gzip.
  package var compressesRequests = false

  /// For callers that have no `TimeAmount`.
  package mutating func setTimeout(nanoseconds: UInt64) {
    timeout = .nanoseconds(Int64(clamping: nanoseconds))
  }

  package init(timeout: TimeAmount? = nil, metadata: [(name: String, value: String)] = []) {
    self.timeout = timeout
    self.metadata = metadata
  }
}

extension CallOptions {
  /// The part of a timeout by which the server may think that there is more time: the client's own
  /// clock ends the call. Calls that are made with the same deadline one after the other have the same
  /// headers then, which are prepared and indexed by the peers once.
  private static let timeoutParts: Int64 = 64

  /// With the timeout rounded up to its coarse form.
  var withCoarseTimeout: CallOptions {
    guard let nanoseconds = timeout?.nanoseconds, nanoseconds > Self.timeoutParts else {
      return self
    }
    // The step is a power of two, so that near times fall on the same.
    let step = Int64(1) << (63 - (nanoseconds / Self.timeoutParts).leadingZeroBitCount)
    let (sum, overflow) = nanoseconds.addingReportingOverflow(step - 1)
    guard !overflow else { return self }
    var copy = self
    copy.timeout = .nanoseconds(sum / step * step)
    return copy
  }

  func isSame(as other: CallOptions) -> Bool {
    timeout == other.timeout && compressesRequests == other.compressesRequests
      && metadata.count == other.metadata.count
      && zip(metadata, other.metadata).allSatisfy { $0.name == $1.name && $0.value == $1.value }
  }
}

/// How a call failed.
package struct RPCError: Error, Sendable, CustomStringConvertible {
  package let status: RPCStatus
  /// False when it is certain that no server has seen the request: it may be tried again elsewhere
  /// even if it writes.
  package let mayHaveBeenProcessed: Bool
  /// The metadata of the trailers.
  package let metadata: [(name: String, value: String)]

  package init(
    _ status: RPCStatus,
    mayHaveBeenProcessed: Bool,
    metadata: [(name: String, value: String)] = []
  ) {
    self.status = status
    self.mayHaveBeenProcessed = mayHaveBeenProcessed
    self.metadata = metadata
  }

  package var code: RPCCode { status.code }
  package var description: String { status.description }
}

/// The end of a call, as the client's event loop sees it.
package struct CallEnd: Sendable {
  package var status: RPCStatus
  /// See `RPCError`.
  package var mayHaveBeenProcessed: Bool
  /// The metadata of the response headers and of the trailers.
  package var metadata: [(name: String, value: String)]

  package init(
    _ status: RPCStatus,
    mayHaveBeenProcessed: Bool,
    metadata: [(name: String, value: String)] = []
  ) {
    self.status = status
    self.mayHaveBeenProcessed = mayHaveBeenProcessed
    self.metadata = metadata
  }

  var error: RPCError {
    RPCError(status, mayHaveBeenProcessed: mayHaveBeenProcessed, metadata: metadata)
  }
}

/// The headers of requests.
package enum RequestHeaders {
  /// A block that any number of calls with the same options may share.
  package static func block(
    path: String,
    authority: String,
    isSecure: Bool = false,
    options: CallOptions = CallOptions()
  ) -> HeaderBlock {
    var fields = [
      (name: ":method", value: "POST"), (name: ":scheme", value: isSecure ? "https" : "http"),
      (name: ":path", value: path), (name: ":authority", value: authority),
      (name: "content-type", value: "application/grpc"), (name: "te", value: "trailers"),
      (name: "grpc-accept-encoding", value: "identity,gzip"),
      (name: "user-agent", value: "grpc-swift-martlet/1"),
    ]
    if options.compressesRequests { fields.append(("grpc-encoding", "gzip")) }
    if let timeout = options.timeout {
      let nanoseconds = UInt64(max(timeout.nanoseconds, 1))
      fields.append(("grpc-timeout", CallTimeout.format(nanoseconds: nanoseconds)))
    }
    return HeaderBlock(fields + options.metadata)
  }
}
