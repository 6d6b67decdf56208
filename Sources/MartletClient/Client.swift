import Logging
import Proto
import RPC
import Synchronization

/// A client of a Martlet or etcd cluster.
///
///     let client = try Client(endpoints: ["http://127.0.0.1:2379"])
///     try await client.kv.put("greeting", "hello")
///     let greeting = try await client.kv.get("greeting")?.text
///     await client.close()
///
/// Safe to use from any number of tasks; one is enough for a program. It connects when it is first
/// used. Calls go to the endpoints in turn, and to others when one fails; a call that changes
/// something is only ever repeated when it is certain that it had no effect, and a `ClientError`
/// says what is known of it. Cancelling a task takes its calls back.
///
/// Keep the client as long as you use what it gave you (views, watches): letting go of it closes it.
public final class Client: Sendable {
  let caller: Caller
  private let syncTask = Mutex<Task<Void, Never>?>(nil)

  /// Makes a client; nothing is sent yet. Throws `ClientError` with code `invalidArgument` for an
  /// endpoint or a file of TLS that cannot be used.
  public init(_ configuration: ClientConfiguration) throws(ClientError) {
    caller = try Caller(configuration)
    guard let interval = configuration.memberSyncInterval else { return }
    let caller = caller
    syncTask.withLock {
      $0 = Task { await Self.keepInSync(caller, every: interval) }
    }
  }

  /// Makes a client with the defaults of `ClientConfiguration`.
  public convenience init(endpoints: [String]) throws(ClientError) {
    try self.init(ClientConfiguration(endpoints: endpoints))
  }

  deinit {
    syncTask.withLock { $0?.cancel() }
    caller.pauses.end()
    let endpoints = caller.endpoints
    guard !endpoints.isClosed else { return }
    Task { await endpoints.close() }
  }

  /// Ends all calls, watches and lease renewals with code `closed`, and closes all connections.
  /// Returns when nothing is left. Leases that are held are not revoked: they run out,
  /// and their closures are cancelled.
  public func close() async {
    let task = syncTask.withLock { task in
      defer { task = nil }
      return task
    }
    task?.cancel()
    await caller.endpoints.close()
    caller.pauses.end()
    await task?.value
  }

  var scope: CallScope {
    CallScope(caller: caller, deadline: caller.configuration.deadline)
  }

  /// Keys and values, and transactions on them.
  public var kv: KV { KV(scope: scope) }
  /// Members.
  public var cluster: Cluster { Cluster(scope: scope) }
  /// What operators do: status, alarms, snapshots.
  public var maintenance: Maintenance { Maintenance(scope: scope) }
  /// Users, roles and permissions.
  public var auth: Auth { Auth(scope: scope) }

  // MARK: Endpoints

  /// Where calls go at present.
  public var endpoints: [String] { caller.endpoints.names }

  /// Sets where calls go from now on. Calls to endpoints that are no longer named end in peace.
  /// Throws `invalidArgument`, and changes nothing then.
  public func setEndpoints(_ endpoints: [String]) throws(ClientError) {
    try caller.endpoints.replace(endpoints)
  }

  /// Asks the cluster for its members, and calls them from now on at the addresses that they
  /// publish. Changes nothing when none publishes any.
  public func syncMembers() async throws(ClientError) {
    try await Self.sync(caller)
  }

  private static func sync(_ caller: Caller) async throws(ClientError) {
    let scope = CallScope(caller: caller, deadline: caller.configuration.deadline)
    let members = try await Cluster(scope: scope).members().members
    let urls = members.filter { !$0.isLearner }.flatMap(\.clientURLs)
    if !urls.isEmpty { try caller.endpoints.replace(urls) }
  }

  private static func keepInSync(_ caller: Caller, every interval: Duration) async {
    while (try? await Task.sleep(for: interval)) != nil {
      do throws(ClientError) {
        try await sync(caller)
      } catch {
        if error.code == .closed { return }
        caller.configuration.logger.info(
          "the members could not be listed",
          metadata: ["reason": "\(error)"]
        )
      }
    }
  }
}
