import RPC

/// What a request does to the cluster, and so what may be done about its failure.
enum Effect {
  /// Changes nothing: may always be sent again.
  case read
  /// Sent twice it does what it does when sent once, whatever others do between.
  case repeatable
  /// Sent again only when it is certain that the first had no effect.
  case write
}

extension ClientError {
  /// What the server's texts mean. Exactly these texts are etcd's contract with its clients.
  private static let rows: [String: (code: Code, outcome: Outcome)] = [
    "key is not provided": (.emptyKey, .refused),
    "key not found": (.keyNotFound, .refused),
    "value is provided": (.valueProvided, .refused),
    "lease is provided": (.leaseProvided, .refused),
    "too many operations in txn request": (.tooManyOperations, .refused),
    "duplicate key given in txn request": (.duplicateKey, .refused),
    "invalid client api version": (.invalidClientVersion, .refused),
    "invalid sort option": (.invalidSortOption, .refused),
    "mvcc: required revision has been compacted": (.compacted, .refused),
    "mvcc: required revision is a future revision": (.futureRevision, .refused),
    "mvcc: database space exceeded": (.noSpace, .refused),
    "requested lease not found": (.leaseNotFound, .refused),
    "lease already exists": (.leaseExists, .refused),
    "too large lease TTL": (.leaseTTLTooLarge, .refused),
    "watch canceled": (.watchCanceled, .refused),
    "member ID already exist": (.memberExists, .refused),
    "Peer URLs already exists": (.peerURLExists, .refused),
    "re-configuration failed due to not enough started members":
      (.notEnoughStartedMembers, .refused),
    "given member URLs are invalid": (.invalidMemberURLs, .refused),
    "member not found": (.memberNotFound, .refused),
    "can only promote a learner member": (.memberIsNotLearner, .refused),
    "can only promote a learner member which is in sync with leader":
      (.learnerIsNotReady, .refused),
    "too many learner members in cluster": (.tooManyLearners, .refused),
    "cluster ID mismatch": (.clusterIDMismatch, .refused),
    "request is too large": (.requestTooLarge, .refused),
    "too many requests": (.tooManyRequests, .notDone),
    "root user does not exist": (.rootUserMissing, .refused),
    "root user does not have root role": (.rootRoleMissing, .refused),
    "user name already exists": (.userExists, .refused),
    "user name is empty": (.userNameEmpty, .refused),
    "user name not found": (.userNotFound, .refused),
    "role name already exists": (.roleExists, .refused),
    "role name not found": (.roleNotFound, .refused),
    "role name is empty": (.roleNameEmpty, .refused),
    "authentication failed, invalid user ID or password": (.authenticationFailed, .refused),
    "permission not given": (.permissionNotGiven, .refused),
    "permission denied": (.permissionDenied, .refused),
    "role is not granted to the user": (.roleNotGranted, .refused),
    "permission is not granted to the role": (.permissionNotGranted, .refused),
    "authentication is not enabled": (.authNotEnabled, .refused),
    "invalid auth token": (.invalidAuthToken, .notDone),
    "invalid auth management": (.invalidAuthManagement, .refused),
    "revision of auth store is old": (.authRevisionIsOld, .notDone),
    "no leader": (.noLeader, .notDone),
    "not leader": (.notLeader, .refused),
    "leader changed": (.leaderChanged, .unknown),
    "not capable": (.notCapable, .refused),
    "server stopped": (.stopped, .unknown),
    "request timed out": (.timeout, .unknown),
    "request timed out, possibly due to previous leader failure":
      (.timeoutAfterLeaderFailure, .unknown),
    "request timed out, possibly due to connection lost": (.timeoutAfterConnectionLoss, .unknown),
    "request timed out, waiting for the applied index took too long":
      (.timeoutWaitingForApply, .unknown),
    "unhealthy cluster": (.unhealthy, .refused),
    "corrupt cluster": (.corrupt, .refused),
    "rpc not supported for learner": (.notSupportedByLearner, .notDone),
    "bad leader transferee": (.badLeaderTransferee, .refused),
    "wrong downgrade target version format": (.invalidDowngradeFormat, .refused),
    "invalid downgrade target version": (.invalidDowngradeTarget, .refused),
    "cluster version not found during downgrade": (.noClusterVersion, .refused),
    "cluster has a downgrade job in progress": (.downgradeInProgress, .refused),
    "no inflight downgrade job": (.noDowngrade, .refused),
    "request canceled": (.canceled, .unknown),
    "context deadline exceeded": (.deadlineExceeded, .unknown),
  ]

  /// The text of `message` in the table; texts within a reason may have more around them.
  private static func row(_ message: String) -> (code: Code, outcome: Outcome)? {
    guard let start = message.firstRange(of: "etcdserver: ") else { return nil }
    return rows[String(message[start.upperBound...])]
  }

  /// The error that a call at `endpoint` ended with.
  init(_ error: RPCError, _ effect: Effect, endpoint: Endpoint?) {
    let (code, outcome) = Self.classify(error)
    var message = error.status.message.isEmpty ? error.status.code.name : error.status.message
    if code == .unavailable, let trouble = endpoint?.takeTrouble() { message += ": \(trouble)" }
    self.init(
      code,
      message,
      // What changes nothing has not been done.
      outcome: effect == .read && outcome == .unknown ? .notDone : outcome,
      grpcStatus: Int(error.code.rawValue),
      endpoint: endpoint?.name
    )
  }

  /// The error that a member's words in a stream stand for.
  init(reason: String, endpoint: String?, compactRevision: Int64? = nil) {
    let (code, outcome) = Self.row(reason) ?? (.watchCanceled, .refused)
    self.init(
      compactRevision == nil ? code : .compacted,
      reason,
      outcome: outcome,
      endpoint: endpoint,
      compactRevision: compactRevision
    )
  }

  private static func classify(_ error: RPCError) -> (Code, Outcome) {
    if let row = row(error.status.message) { return row }
    guard error.mayHaveBeenProcessed else {
      return switch error.code {
      case .canceled: (.canceled, .notDone)
      case .deadlineExceeded: (.deadlineExceeded, .notDone)
      default: (.unavailable, .notDone)
      }
    }
    return switch error.code {
    case .unavailable: (.unavailable, .unknown)
    case .deadlineExceeded: (.deadlineExceeded, .unknown)
    case .canceled: (.canceled, .unknown)
    case .invalidArgument, .notFound, .alreadyExists, .permissionDenied, .failedPrecondition,
      .outOfRange, .unimplemented, .unauthenticated:
      (.other, .refused)
    case .ok, .unknown, .resourceExhausted, .aborted, .internal, .dataLoss: (.other, .unknown)
    }
  }
}
