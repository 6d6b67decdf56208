/// Why a call failed, and what became of it.
///
///     do throws(ClientError) {
///       try await client.kv.put("k", "v")
///     } catch {
///       // It may or may not have been written: read before writing again.
///       guard error.outcome == .unknown else { throw error }
///     }
public struct ClientError: Error, Sendable {
  /// What went wrong.
  public let code: Code
  /// The server's words, or the library's.
  public let message: String
  /// Whether the request took effect.
  public let outcome: Outcome
  /// The status of gRPC that the call ended with, 1 to 16; nil when it did not come so far.
  public let grpcStatus: Int?
  /// The endpoint of the last attempt.
  public let endpoint: String?
  /// With `compacted`, where a watch learns it: the oldest revision that can still be watched.
  public let compactRevision: Int64?
  /// With what a member said in a watch: who said it.
  package var header: ResponseHeader?

  init(
    _ code: Code,
    _ message: String,
    outcome: Outcome,
    grpcStatus: Int? = nil,
    endpoint: String? = nil,
    compactRevision: Int64? = nil
  ) {
    self.code = code
    self.message = message
    self.outcome = outcome
    self.grpcStatus = grpcStatus
    self.endpoint = endpoint
    self.compactRevision = compactRevision
  }

  /// What became of a request that failed.
  public enum Outcome: Sendable, Hashable {
    /// It had no effect and was not judged: the same request may be sent again.
    case notDone
    /// It was judged, and refused: nothing was changed, and the same request will be refused again
    /// until something else changes.
    case refused
    /// It may have taken effect, or may still. Read before you write again.
    case unknown
  }

  /// What went wrong: the errors of etcd by name, and those that arise on this side.
  public enum Code: String, Sendable, Hashable, CaseIterable {
    // This side.
    /// No endpoint could be reached, or the connection was lost.
    case unavailable
    /// The deadline passed.
    case deadlineExceeded
    /// The task was cancelled, or the server took the call back.
    case canceled
    /// `Client.close` was called.
    case closed
    /// An argument that no server is asked about.
    case invalidArgument
    /// A lease that this client kept alive ran out or was revoked.
    case leaseLost
    /// A transaction of `Client.transact` met others' writes in every attempt.
    case conflict
    /// An answer that cannot be read, or a value that cannot be decoded.
    case malformedResponse
    /// An answer of the server that has no name here; see `message` and `grpcStatus`.
    case other

    // Keys and transactions.
    case emptyKey, keyNotFound, valueProvided, leaseProvided, tooManyOperations, duplicateKey
    case invalidClientVersion, invalidSortOption, compacted, futureRevision, noSpace
    case requestTooLarge, tooManyRequests

    // Leases and watches.
    case leaseNotFound, leaseExists, leaseTTLTooLarge, watchCanceled

    // The cluster.
    case memberExists, peerURLExists, notEnoughStartedMembers, invalidMemberURLs, memberNotFound
    case memberIsNotLearner, learnerIsNotReady, tooManyLearners, clusterIDMismatch
    case noLeader, notLeader, leaderChanged, notCapable, stopped, timeout
    case timeoutAfterLeaderFailure, timeoutAfterConnectionLoss, timeoutWaitingForApply
    case unhealthy, corrupt, notSupportedByLearner, badLeaderTransferee
    case invalidDowngradeFormat, invalidDowngradeTarget, noClusterVersion, downgradeInProgress
    case noDowngrade

    // Users and roles.
    case rootUserMissing, rootRoleMissing, userExists, userNameEmpty, userNotFound
    case roleExists, roleNotFound, roleNameEmpty, authenticationFailed, permissionNotGiven
    case permissionDenied, roleNotGranted, permissionNotGranted, authNotEnabled
    case invalidAuthToken, invalidAuthManagement, authRevisionIsOld
  }
}

extension ClientError: CustomStringConvertible {
  public var description: String {
    let place = endpoint.map { " (\($0))" } ?? ""
    let end =
      switch outcome {
      case .notDone: "nothing was done"
      case .refused: "refused"
      case .unknown: "it is not known whether it was done"
      }
    return "\(message)\(place); \(end)"
  }
}

extension ClientError {
  static func canceled(_ outcome: Outcome = .notDone) -> ClientError {
    ClientError(.canceled, "the task was cancelled", outcome: outcome)
  }

  static let closed = ClientError(.closed, "the client is closed", outcome: .notDone)

  static func invalid(_ message: String) -> ClientError {
    ClientError(.invalidArgument, message, outcome: .refused)
  }

  static func malformed(_ message: String) -> ClientError {
    ClientError(.malformedResponse, message, outcome: .unknown)
  }

  /// The same error of a request about which more is known.
  func with(_ outcome: Outcome) -> ClientError {
    var error = ClientError(
      code,
      message,
      outcome: outcome,
      grpcStatus: grpcStatus,
      endpoint: endpoint,
      compactRevision: compactRevision
    )
    error.header = header
    return error
  }
}
