package import RPC
package import Replica

extension RPCStatus {
  /// The status and text that clients of etcd know an error by. Both are part of the wire contract.
  package init(_ error: RequestError) {
    let (code, text) = error.codeAndText
    self.init(code, text)
  }
}

extension RequestError {
  /// The error's row of the table.
  var codeAndText: (RPCCode, String) {
    switch self {
    case .keyNotProvided: (.invalidArgument, "etcdserver: key is not provided")
    case .keyNotFound: (.invalidArgument, "etcdserver: key not found")
    case .valueProvided: (.invalidArgument, "etcdserver: value is provided")
    case .leaseProvided: (.invalidArgument, "etcdserver: lease is provided")
    case .tooManyOperations:
      (.invalidArgument, "etcdserver: too many operations in txn request")
    case .duplicateKey: (.invalidArgument, "etcdserver: duplicate key given in txn request")
    case .invalidSortOption: (.invalidArgument, "etcdserver: invalid sort option")
    case .compacted:
      (.outOfRange, "etcdserver: mvcc: required revision has been compacted")
    case .futureRevision:
      (.outOfRange, "etcdserver: mvcc: required revision is a future revision")
    case .noSpace: (.resourceExhausted, "etcdserver: mvcc: database space exceeded")
    case .badLeaderTransferee: (.failedPrecondition, "etcdserver: bad leader transferee")
    case .downgradeVersionFormat:
      (.invalidArgument, "etcdserver: wrong downgrade target version format")
    case .downgradeTargetInvalid:
      (.invalidArgument, "etcdserver: invalid downgrade target version")
    case .downgradeInProgress:
      (.failedPrecondition, "etcdserver: cluster has a downgrade job in progress")
    case .noDowngrade: (.failedPrecondition, "etcdserver: no inflight downgrade job")
    case .leaseNotFound: (.notFound, "etcdserver: requested lease not found")
    case .leaseExists: (.failedPrecondition, "etcdserver: lease already exists")
    case .leaseTimeToLiveTooLarge: (.outOfRange, "etcdserver: too large lease TTL")
    case .requestTooLarge: (.invalidArgument, "etcdserver: request is too large")
    case .tooManyRequests: (.resourceExhausted, "etcdserver: too many requests")
    case .noLeader: (.unavailable, "etcdserver: no leader")
    case .notLeader: (.failedPrecondition, "etcdserver: not leader")
    case .serverStopped: (.unavailable, "etcdserver: server stopped")
    case .timeout: (.unavailable, "etcdserver: request timed out")
    case .timeoutLeaderFailure:
      (
        .unavailable,
        "etcdserver: request timed out, possibly due to previous leader failure"
      )
    case .timeoutConnectionLost:
      (.unavailable, "etcdserver: request timed out, possibly due to connection lost")
    case .learnerUnsupported:
      (.failedPrecondition, "etcdserver: rpc not supported for learner")
    case .memberNotFound: (.notFound, "etcdserver: member not found")
    case .corrupt: (.dataLoss, "etcdserver: corrupt cluster")
    case .rootUserNotExist: (.failedPrecondition, "etcdserver: root user does not exist")
    case .rootRoleNotExist:
      (.failedPrecondition, "etcdserver: root user does not have root role")
    case .userAlreadyExists: (.failedPrecondition, "etcdserver: user name already exists")
    case .userEmpty: (.invalidArgument, "etcdserver: user name is empty")
    case .userNotFound: (.failedPrecondition, "etcdserver: user name not found")
    case .roleAlreadyExists: (.failedPrecondition, "etcdserver: role name already exists")
    case .roleNotFound: (.failedPrecondition, "etcdserver: role name not found")
    case .roleEmpty: (.invalidArgument, "etcdserver: role name is empty")
    case .authenticationFailed:
      (.invalidArgument, "etcdserver: authentication failed, invalid user ID or password")
    case .permissionNotGiven: (.invalidArgument, "etcdserver: permission not given")
    case .permissionDenied: (.permissionDenied, "etcdserver: permission denied")
    case .roleNotGranted:
      (.failedPrecondition, "etcdserver: role is not granted to the user")
    case .permissionNotGranted:
      (.failedPrecondition, "etcdserver: permission is not granted to the role")
    case .authNotEnabled:
      (.failedPrecondition, "etcdserver: authentication is not enabled")
    case .invalidAuthToken: (.unauthenticated, "etcdserver: invalid auth token")
    case .invalidAuthManagement: (.invalidArgument, "etcdserver: invalid auth management")
    case .oldAuthRevision:
      (.invalidArgument, "etcdserver: revision of auth store is old")
    case .memberIDExists: (.failedPrecondition, "etcdserver: member ID already exist")
    case .peerURLExists: (.failedPrecondition, "etcdserver: Peer URLs already exists")
    case .notEnoughStarted:
      (
        .failedPrecondition,
        "etcdserver: re-configuration failed due to not enough started members"
      )
    case .badMemberURLs: (.invalidArgument, "etcdserver: given member URLs are invalid")
    case .notLearner: (.failedPrecondition, "etcdserver: can only promote a learner member")
    case .learnerNotReady:
      (
        .failedPrecondition,
        "etcdserver: can only promote a learner member which is in sync with leader"
      )
    case .tooManyLearners:
      (.failedPrecondition, "etcdserver: too many learner members in cluster")
    case .unhealthy: (.unavailable, "etcdserver: unhealthy cluster")
    }
  }
}
