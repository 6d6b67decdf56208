import Flags

extension ServerConfiguration {
  /// Bounds that values from outside must keep; units are in the names.
  package enum Bound {
    package static let electionTimeoutMillisecondsMax = 50_000
    /// The factor by which an election timeout must exceed a heartbeat.
    package static let heartbeatsPerElectionMin = 5
    /// What a gRPC message's length can say, less the room that a request's envelope needs.
    package static let requestBytesMax = Int(Int32.max) - 512 * 1024
    /// Requests larger than this slow every member down; etcd warns from here on, too.
    package static let requestBytesRecommendedMax = 10 << 20
  }

  func checkNumbers() throws(ConfigurationError) {
    try checkElection()
    try Self.check(snapshotCount, in: 0...Int.max, "snapshot-count")
    try Self.check(snapshotCatchUpEntries, in: 0...Int.max, "snapshot-catchup-entries")
    try Self.check(maxTxnOps, in: 1...Int(Int32.max), "max-txn-ops")
    try Self.check(maxRequestBytes, in: 1...Bound.requestBytesMax, "max-request-bytes")
    try Self.check(maxConcurrentStreams, in: 1...Int(UInt32.max), "max-concurrent-streams")
    try Self.check(maxLearners, in: 1...Int(Int32.max), "max-learners")
    try Self.check(bcryptCost, in: 4...31, "bcrypt-cost")
    try Self.check(authTokenTTLSeconds, in: 1...Int(Int32.max), "auth-token-ttl")
    for (flag, duration) in [
      ("raft-read-timeout", raftReadTimeout), ("raft-write-timeout", raftWriteTimeout),
      ("compact-hash-check-time", compactHashCheckTime),
    ] where duration <= .zero {
      throw .invalid("--\(flag) must be more than 0 (is \(GoDuration.text(duration))).")
    }
    let durations: [(String, Duration)] = [
      ("grpc-keepalive-min-time", grpcKeepAliveMinTime),
      ("grpc-keepalive-interval", grpcKeepAliveInterval),
      ("grpc-keepalive-timeout", grpcKeepAliveTimeout),
      ("warning-unary-request-duration", warningUnaryRequestDuration),
      ("warning-apply-duration", warningApplyDuration),
      ("watch-progress-notify-interval", watchProgressNotifyInterval),
      ("corrupt-check-time", corruptCheckTime),
    ]
    for (flag, duration) in durations where duration < .zero {
      throw .invalid("--\(flag) must not be negative (is \(GoDuration.text(duration))).")
    }
  }

  private func checkElection() throws(ConfigurationError) {
    let heartbeat = heartbeatInterval
    let election = electionTimeout
    guard heartbeat > .zero else {
      throw .invalid("--heartbeat-interval must be more than 0 ms.")
    }
    guard election > .zero else {
      throw .invalid("--election-timeout must be more than 0 ms.")
    }
    guard election <= .milliseconds(Bound.electionTimeoutMillisecondsMax) else {
      throw .invalid(
        "--election-timeout (\(GoDuration.text(election))) must be at most "
          + "\(Bound.electionTimeoutMillisecondsMax) ms."
      )
    }
    guard heartbeat <= election / Bound.heartbeatsPerElectionMin else {
      throw .invalid(
        "--election-timeout (\(GoDuration.text(election))) must be at least "
          + "\(Bound.heartbeatsPerElectionMin) times --heartbeat-interval "
          + "(\(GoDuration.text(heartbeat)))."
      )
    }
  }

  private static func check(
    _ value: Int,
    in range: ClosedRange<Int>,
    _ flag: String
  ) throws(ConfigurationError) {
    guard !range.contains(value) else { return }
    let wanted =
      range.upperBound == Int.max
      ? "at least \(range.lowerBound)" : "from \(range.lowerBound) to \(range.upperBound)"
    throw .invalid("--\(flag) must be \(wanted) (is \(value)).")
  }
}
