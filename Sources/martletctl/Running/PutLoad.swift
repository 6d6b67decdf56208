import MartletClient
import Proto

/// What came of many calls.
struct LoadReport: Sendable {
  var count = 0
  /// Seconds.
  var slowest = 0.0
  var sum = 0.0
  var sumOfSquares = 0.0
  var errors: [String: Int] = [:]

  mutating func add(_ duration: Duration) {
    let seconds = duration / .seconds(1)
    count += 1
    slowest = max(slowest, seconds)
    sum += seconds
    sumOfSquares += seconds * seconds
  }

  mutating func add(_ error: ClientError) { errors[error.goText, default: 0] += 1 }

  mutating func merge(_ other: LoadReport) {
    count += other.count
    slowest = max(slowest, other.slowest)
    sum += other.sum
    sumOfSquares += other.sumOfSquares
    errors.merge(other.errors) { $0 + $1 }
  }

  var standardDeviation: Double {
    guard count > 0 else { return 0 }
    let mean = sum / Double(count)
    return max(0, sumOfSquares / Double(count) - mean * mean).squareRoot()
  }
}

/// Many tasks that put until there is nothing left to do.
struct PutLoad: Sendable {
  let connections: [Connection]
  let tasks: Int
  /// The request with that number; nil when there is no more.
  let request: @Sendable (Int) async throws -> Etcdserverpb.PutRequest?

  /// Connections are shared by so many tasks at least.
  static let connectionsMax = 50

  static func connections(_ invocation: Invocation, tasks: Int) async throws -> [Connection] {
    let endpoints = try await Connection.endpoints(invocation.flags)
    var connections: [Connection] = []
    for _ in 0..<min(tasks, connectionsMax) {
      connections.append(try await Connection(invocation, endpoints: endpoints))
    }
    return connections
  }

  func run(counter: Counter) async throws -> LoadReport {
    try await withThrowingTaskGroup(of: LoadReport.self) { group in
      for task in 0..<tasks {
        let connection = connections[task % connections.count]
        group.addTask {
          var report = LoadReport()
          while let request = try await self.request(counter.add(1)) {
            let start = ContinuousClock().now
            do throws(ClientError) {
              _ = try await connection.put(request)
              report.add(start.duration(to: ContinuousClock().now))
            } catch {
              report.add(error)
            }
          }
          return report
        }
      }
      var total = LoadReport()
      for try await report in group { total.merge(report) }
      return total
    }
  }

  func close() async {
    for connection in connections { await connection.client.close() }
  }
}
