import MartletClient
import Proto

/// `endpoint ...`.
enum EndpointCommands {
  private static let cluster = Flag("cluster", .bool, "", "ask all members of the cluster")

  static let all = [
    Command(
      path: ["endpoint", "health"],
      usage: "",
      summary: "asks whether endpoints work",
      flags: [cluster],
      formats: .withoutProtobuf,
      run: health
    ),
    Command(
      path: ["endpoint", "status"],
      usage: "",
      summary: "prints the state of endpoints",
      flags: [cluster],
      formats: .withoutProtobuf,
      run: status
    ),
    Command(
      path: ["endpoint", "hashkv"],
      usage: "",
      summary: "prints a checksum of the keys and their history",
      flags: [cluster, Flag("rev", .integer, "0", "up to this revision; 0 is all")],
      formats: .withoutProtobuf,
      run: hashKV
    ),
  ]

  private static func health(_ invocation: Invocation) async throws {
    let endpoints = try await Connection.endpoints(of: invocation)
    let connection = try await Connection(invocation, endpoints: endpoints)
    let results = await withTaskGroup(of: (Int, Printer.Health).self) { group in
      for (index, endpoint) in endpoints.enumerated() {
        group.addTask { (index, await health(of: endpoint, connection)) }
      }
      var results: [(Int, Printer.Health)] = []
      for await result in group { results.append(result) }
      return results.sorted { $0.0 < $1.0 }.map(\.1)
    }
    await connection.client.close()
    invocation.printer.health(results)
    if results.contains(where: { !$0.isHealthy }) { throw Failure(.error, "unhealthy cluster") }
  }

  private static func health(
    of endpoint: String,
    _ connection: Connection
  ) async -> Printer.Health {
    let start = ContinuousClock().now
    var error = ""
    do throws(ClientError) {
      let request = Etcdserverpb.RangeRequest(key: "health".bytes, rangeEnd: [])
      _ = try await connection.range(request, at: endpoint)
    } catch {
      // A user who may not read it has been answered too.
      if error.code == .permissionDenied { return healthy(endpoint, since: start) }
      return .init(
        endpoint: endpoint,
        took: start.duration(to: ContinuousClock().now),
        error: error.goText
      )
    }
    do throws(ClientError) {
      let request = Etcdserverpb.AlarmRequest()
      let response: Etcdserverpb.AlarmResponse = try await connection.call(
        "Maintenance/Alarm",
        request,
        isRead: true,
        at: endpoint
      )
      let names = response.alarms.map(\.alarm.description).filter { $0 != "NONE" }
      if !names.isEmpty {
        error = "Active Alarm(s): " + names.map { "\($0), " }.joined()
      }
    } catch  where error.code == .permissionDenied {
      // Alarms are for those with rights only.
    } catch {
      return .init(
        endpoint: endpoint,
        took: start.duration(to: ContinuousClock().now),
        error: "Unable to fetch the alarm list"
      )
    }
    var result = healthy(endpoint, since: start)
    result.error = error
    return result
  }

  private static func healthy(
    _ endpoint: String,
    since start: ContinuousClock.Instant
  ) -> Printer.Health {
    .init(endpoint: endpoint, took: start.duration(to: ContinuousClock().now))
  }

  /// Asks one endpoint after the other; what fails is told and the last reason returned.
  private static func each<Response>(
    _ invocation: Invocation,
    _ subject: String,
    _ body: (Connection, String) async throws(ClientError) -> Response
  ) async throws -> (results: [Printer.At<Response>], failure: ClientError?) {
    let endpoints = try await Connection.endpoints(of: invocation)
    let connection = try await Connection(invocation, endpoints: endpoints)
    var results: [Printer.At<Response>] = []
    var failure: ClientError?
    for endpoint in endpoints {
      do throws(ClientError) {
        results.append(.init(endpoint: endpoint, response: try await body(connection, endpoint)))
      } catch {
        Streams.warn("Failed to get the \(subject) of endpoint \(endpoint) (\(error.goText))")
        failure = error
      }
    }
    await connection.client.close()
    return (results, failure)
  }

  private static func status(_ invocation: Invocation) async throws {
    let (results, failure) = try await each(invocation, "status") {
      connection,
      endpoint async throws(ClientError) in
      try await connection.status(endpoint)
    }
    invocation.printer.statuses(results)
    if failure != nil { throw Failure(.error, nil) }
  }

  private static func hashKV(_ invocation: Invocation) async throws {
    let request = Etcdserverpb.HashKVRequest(revision: invocation.flags.integer("rev"))
    let (results, failure) = try await each(invocation, "hash") {
      connection,
      endpoint async throws(ClientError) -> Etcdserverpb.HashKVResponse in
      try await connection.call("Maintenance/HashKV", request, isRead: true, at: endpoint)
    }
    invocation.printer.hashes(results)
    if let failure { throw Failure(failure) }
  }
}
