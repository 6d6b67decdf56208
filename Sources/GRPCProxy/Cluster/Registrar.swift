import Logging
import NIOCore
import Proto
import RPC
import Synchronization

/// Keeps the proxy registered below the resolver prefix: a key with a lease that is renewed, made anew
/// when it is lost.
final class Registrar: Sendable {
  private let configuration: ProxyConfiguration
  private let upstream: Upstream
  private let logger: Logger
  private let task = Mutex<Task<Void, Never>?>(nil)
  private let lease = Mutex<Int64>(0)

  private static let callTimeout = TimeAmount.seconds(5)
  /// How long after a failure it is tried again.
  private static let retryDelay = Duration.seconds(1)
  /// A lease is renewed so often in its time.
  private static let renewalsPerTTL = 3

  init(_ configuration: ProxyConfiguration, upstream: Upstream, logger: Logger) {
    self.configuration = configuration
    self.upstream = upstream
    self.logger = logger
  }

  func start() {
    let task = Task { await self.run() }
    self.task.withLock { $0 = task }
  }

  /// Takes the registration back.
  func stop() async {
    let task = task.withLock { $0 }
    task?.cancel()
    await task?.value
    let id = lease.withLock { $0 }
    guard id != 0 else { return }
    // Without it the lease's time does the same.
    let _: Etcdserverpb.LeaseRevokeResponse? = try? await upstream.unary(
      "/etcdserverpb.Lease/LeaseRevoke",
      Etcdserverpb.LeaseRevokeRequest(id: id),
      timeout: Self.callTimeout
    )
  }

  private func run() async {
    while !Task.isCancelled {
      do {
        let id = try await register()
        lease.withLock { $0 = id }
        logger.info(
          "registered the proxy",
          metadata: ["address": "\(configuration.advertisedURL)"]
        )
        try await keepAlive(id)
        logger.warning("the lease of the registration has expired")
      } catch is CancellationError {
        return
      } catch {
        logger.warning("cannot register the proxy", metadata: ["error": "\(error)"])
      }
      try? await Task.sleep(for: Self.retryDelay)
    }
  }

  private func register() async throws -> Int64 {
    let grant: Etcdserverpb.LeaseGrantResponse = try await upstream.unary(
      "/etcdserverpb.Lease/LeaseGrant",
      Etcdserverpb.LeaseGrantRequest(ttl: configuration.resolverTTLSeconds),
      timeout: Self.callTimeout
    )
    let address = configuration.advertisedURL
    let registration = Registration(address: address, name: configuration.hostName)
    let _: Etcdserverpb.PutResponse = try await upstream.unary(
      "/etcdserverpb.KV/Put",
      Etcdserverpb.PutRequest(
        key: configuration.registrationPrefix + Array(address.utf8),
        value: Array(registration.text.utf8),
        lease: grant.id
      ),
      timeout: Self.callTimeout
    )
    return grant.id
  }

  /// Renews the lease until it is gone. A call that fails is made again, as long as the lease may live.
  private func keepAlive(_ id: Int64) async throws {
    let interval =
      Duration.seconds(configuration.resolverTTLSeconds) / Self.renewalsPerTTL
    while true {
      try await Task.sleep(for: interval)
      let answer: Etcdserverpb.LeaseKeepAliveResponse? = try? await upstream.unary(
        "/etcdserverpb.Lease/LeaseKeepAlive",
        Etcdserverpb.LeaseKeepAliveRequest(id: id),
        timeout: Self.callTimeout
      )
      if let answer, answer.ttl <= 0 { return }
    }
  }
}
