package import NIOCore

/// What a proxy does, and its bounds.
package struct ProxyConfiguration: Sendable {
  /// Prefix of all keys; empty: none.
  package var namespace: [UInt8] = []
  /// The address that MemberList and the registration have; empty: MemberList is passed on.
  package var advertisedURL = ""
  package var hostName = ""
  /// Where proxies register, within the namespace; empty: nowhere.
  package var resolverPrefix = ""
  package var resolverTTLSeconds: Int64 = 0
  /// The longest message to a server and from one.
  package var sendBytesMax = 1_572_864
  package var receiveBytesMax = Int(Int32.max)
  /// A serializable read is not answered with an older revision than one before: another server is
  /// asked. Answers are not kept then.
  package var ordersSerializableReads = false
  /// The most answers to serializable reads that are kept, and their bytes together.
  package var cacheEntriesMax = 2048
  package var cacheBytesMax = 64 << 20
  /// The most calls that one connection may have open at a time.
  package var concurrentStreamsMax: UInt32 = 16_384
  /// See `RPCServerConfiguration`.
  package var keepaliveMinTime = TimeAmount.seconds(5)
  package var keepaliveInterval = TimeAmount.hours(2)
  package var keepaliveTimeout = TimeAmount.seconds(20)
  /// How long a connection to a server is silent before it is asked whether it lives, and how long the
  /// answer may take.
  package var upstreamKeepaliveInterval = TimeAmount.seconds(10)
  package var upstreamKeepaliveTimeout = TimeAmount.seconds(5)
  package var connectTimeout = TimeAmount.seconds(5)
  /// How long calls may go on when the proxy is to end.
  package var drainTimeout = TimeAmount.seconds(5)

  package init() {}

  var answersMemberList: Bool { !advertisedURL.isEmpty }

  /// What the keys of registrations begin with at the servers: they lie within the namespace, as etcd's
  /// proxies have it.
  var registrationPrefix: [UInt8] { namespace + Array("\(resolverPrefix)/".utf8) }
}
