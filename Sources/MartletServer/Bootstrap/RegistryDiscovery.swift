import Base
import Logging
import Membership
import Proto
import RPC
import TLS

/// Finds the other founders by etcd's v3 discovery: each registers itself under
/// `/_etcd/registry/<token>/members/<member ID>` with the value `name=peerURL,name=peerURL`, and waits
/// until there are as many as `/_etcd/registry/<token>/_config/size` says. Who registered first, by
/// the create revision, is in; whoever comes later is told that the cluster is full.
struct RegistryDiscovery {
  let plan: DiscoveryPlan
  let memberID: MemberID
  /// `name=peerURL,name=peerURL` of this member.
  let own: String
  let logger: Logger

  /// How often the service is asked for members that are still missing.
  private static let pollInterval = Duration.milliseconds(500)
  /// The wait after a call that failed; it doubles up to the maximum.
  private static let retryDelay = Duration.milliseconds(500)
  private static let retryDelayMax = Duration.seconds(16)
  /// The registrations that are looked at; members beyond are too late in any case.
  private static let registrationsMax = 1024

  /// One registration.
  struct Registration: Hashable {
    let key: String
    let value: String
  }

  private var prefix: String { "/_etcd/registry/\(plan.settings.token)" }
  private var membersPrefix: String { "\(prefix)/members/" }
  private var ownKey: String { membersPrefix + String(memberID.rawValue, radix: 16) }

  /// The text that `--initial-cluster` would have. Waits for the other members as long as it takes;
  /// ends when the task is cancelled. Throws `StartError`, or what is wrong with the TLS files.
  func initialCluster() async throws -> String {
    var client = try RegistryClient(plan)
    do {
      let text = try await join(&client)
      await client.close()
      return text
    } catch {
      await client.close()
      throw error
    }
  }

  private func join(_ client: inout RegistryClient) async throws -> String {
    // Asked before, so that no member that is too many leaves a trace.
    _ = try await members(&client, size: try await size(&client))
    try await retrying("register", &client) { client throws(RPCError) in
      try await client.put(
        Etcdserverpb.PutRequest(key: Array(ownKey.utf8), value: Array(own.utf8))
      )
    }
    logger.info("registered at the discovery service", metadata: ["key": .string(ownKey)])
    let size = try await size(&client)
    var seen: Set<Registration> = []
    while true {
      let found = try await members(&client, size: size)
      for member in found where seen.insert(member).inserted {
        logger.notice(
          "discovered a member",
          metadata: ["key": .string(member.key), "member": .string(member.value)]
        )
      }
      if found.count >= size {
        return try Self.initialCluster(of: Array(found.prefix(size)), own: own)
      }
      try await Task.sleep(for: Self.pollInterval)
    }
  }

  /// The size of the cluster to be.
  private func size(_ client: inout RegistryClient) async throws -> Int {
    let key = "\(prefix)/_config/size"
    let answer = try await retrying("ask for the size", &client) { client throws(RPCError) in
      try await client.range(Etcdserverpb.RangeRequest(key: Array(key.utf8)))
    }
    guard let pair = answer.kvs.first else {
      throw StartError.failed("discovery: size key not found: there is no \(key)")
    }
    let text = String(decoding: pair.value.prefix(32), as: UTF8.self)
    guard let size = Int(text), size > 0, size <= InitialCluster.memberCountMax else {
      throw StartError.failed(
        "discovery: size key is bad: \(key) has \(text.debugDescription), and not a number from 1 to "
          + "\(InitialCluster.memberCountMax)"
      )
    }
    return size
  }

  /// The registrations in their order. Throws when this member cannot be among the first `size`.
  private func members(_ client: inout RegistryClient, size: Int) async throws -> [Registration] {
    var request = Etcdserverpb.RangeRequest(
      key: Array(membersPrefix.utf8),
      // What follows the slash.
      rangeEnd: Array(membersPrefix.utf8.dropLast()) + [UInt8(ascii: "/") + 1]
    )
    request.sortTarget = .create
    request.sortOrder = .ascend
    request.limit = Int64(Self.registrationsMax)
    let answer = try await retrying("ask for the members", &client) { client throws(RPCError) in
      try await client.range(request)
    }
    let found = Self.registrations(answer.kvs, logger)
    let isIn = found.prefix(size).contains { $0.key == ownKey }
    guard isIn || found.count < size else {
      throw StartError.failed(
        "discovery: cluster is full: \(size) other members have registered with the token "
          + plan.settings.token.debugDescription
      )
    }
    return found
  }

  static func registrations(_ pairs: [Mvccpb.KeyValue], _ logger: Logger) -> [Registration] {
    pairs.compactMap { pair in
      let value = String(decoding: pair.value, as: UTF8.self).trimmingASCIISpace()
      let key = String(decoding: pair.key, as: UTF8.self)
      guard value.contains("=") else {
        logger.warning(
          "invalid peer info returned from discovery service",
          metadata: ["key": .string(key), "value": .string(String(value.prefix(200)))]
        )
        return nil
      }
      return Registration(key: key, value: value)
    }
  }

  /// Puts the registrations together. Two of one name, or of one URL, would be no cluster.
  static func initialCluster(of members: [Registration], own: String) throws(StartError) -> String {
    let text = members.map(\.value).joined(separator: ",")
    do {
      let cluster = try InitialCluster(text)
      guard cluster.entries.count == members.count else {
        throw StartError.failed(
          "discovery: members of one name have registered: \(text.prefix(Self.shownMax))"
        )
      }
    } catch let error as InitialClusterError {
      throw .failed("discovery: invalid peer URL: \(error): \(text.prefix(Self.shownMax))")
    } catch {
      throw .failed("\(error)")
    }
    return text
  }

  /// So much of what others have registered goes into an error.
  private static let shownMax = 2000

  /// Calls until it works, or is refused for good.
  private func retrying<Response>(
    _ what: String,
    _ client: inout RegistryClient,
    _ body: (inout RegistryClient) async throws(RPCError) -> Response
  ) async throws -> Response {
    var delay = Self.retryDelay
    while true {
      do throws(RPCError) {
        return try await body(&client)
      } catch {
        guard !RegistryClient.isFinal(error) else {
          throw StartError.failed("discovery: cannot \(what): \(error.status.message)")
        }
        logger.warning(
          "the discovery service does not answer; trying on",
          metadata: [
            "step": .string(what), "cause": "\(error)",
            "endpoints": .string(plan.settings.endpoints.joined(separator: ",")),
          ]
        )
      }
      try await Task.sleep(for: delay)
      delay = min(delay * 2, Self.retryDelayMax)
    }
  }
}
