import MartletServer
import RPC
import Replica
import Testing

/// The rows of etcd's error table that this build can meet, spelled out: clients compare both
/// columns.
@Suite("Error table")
struct ErrorTableTests {
  struct Row: Sendable, CustomTestStringConvertible {
    var error: RequestError
    var code: RPCCode
    var text: String
    var testDescription: String { "\(error)" }

    init(_ error: RequestError, _ code: RPCCode, _ text: String) {
      self.error = error
      self.code = code
      self.text = text
    }
  }

  static let rows = [
    Row(.keyNotProvided, .invalidArgument, "etcdserver: key is not provided"),
    Row(.keyNotFound, .invalidArgument, "etcdserver: key not found"),
    Row(.valueProvided, .invalidArgument, "etcdserver: value is provided"),
    Row(.leaseProvided, .invalidArgument, "etcdserver: lease is provided"),
    Row(.tooManyOperations, .invalidArgument, "etcdserver: too many operations in txn request"),
    Row(.duplicateKey, .invalidArgument, "etcdserver: duplicate key given in txn request"),
    Row(.invalidSortOption, .invalidArgument, "etcdserver: invalid sort option"),
    Row(.compacted, .outOfRange, "etcdserver: mvcc: required revision has been compacted"),
    Row(.futureRevision, .outOfRange, "etcdserver: mvcc: required revision is a future revision"),
    Row(.noSpace, .resourceExhausted, "etcdserver: mvcc: database space exceeded"),
    Row(
      .badLeaderTransferee,
      .failedPrecondition,
      "etcdserver: bad leader transferee"
    ),
    Row(
      .downgradeVersionFormat,
      .invalidArgument,
      "etcdserver: wrong downgrade target version format"
    ),
    Row(
      .downgradeTargetInvalid,
      .invalidArgument,
      "etcdserver: invalid downgrade target version"
    ),
    Row(
      .downgradeInProgress,
      .failedPrecondition,
      "etcdserver: cluster has a downgrade job in progress"
    ),
    Row(.noDowngrade, .failedPrecondition, "etcdserver: no inflight downgrade job"),
    Row(.leaseNotFound, .notFound, "etcdserver: requested lease not found"),
    Row(.leaseExists, .failedPrecondition, "etcdserver: lease already exists"),
    Row(.leaseTimeToLiveTooLarge, .outOfRange, "etcdserver: too large lease TTL"),
    Row(.requestTooLarge, .invalidArgument, "etcdserver: request is too large"),
    Row(.tooManyRequests, .resourceExhausted, "etcdserver: too many requests"),
    Row(.noLeader, .unavailable, "etcdserver: no leader"),
    Row(.notLeader, .failedPrecondition, "etcdserver: not leader"),
    Row(.serverStopped, .unavailable, "etcdserver: server stopped"),
    Row(.timeout, .unavailable, "etcdserver: request timed out"),
    Row(.memberNotFound, .notFound, "etcdserver: member not found"),
    Row(.corrupt, .dataLoss, "etcdserver: corrupt cluster"),
    Row(.rootUserNotExist, .failedPrecondition, "etcdserver: root user does not exist"),
    Row(.rootRoleNotExist, .failedPrecondition, "etcdserver: root user does not have root role"),
    Row(.userAlreadyExists, .failedPrecondition, "etcdserver: user name already exists"),
    Row(.userEmpty, .invalidArgument, "etcdserver: user name is empty"),
    Row(.userNotFound, .failedPrecondition, "etcdserver: user name not found"),
    Row(.roleAlreadyExists, .failedPrecondition, "etcdserver: role name already exists"),
    Row(.roleNotFound, .failedPrecondition, "etcdserver: role name not found"),
    Row(.roleEmpty, .invalidArgument, "etcdserver: role name is empty"),
    Row(
      .authenticationFailed,
      .invalidArgument,
      "etcdserver: authentication failed, invalid user ID or password"
    ),
    Row(.permissionNotGiven, .invalidArgument, "etcdserver: permission not given"),
    Row(.permissionDenied, .permissionDenied, "etcdserver: permission denied"),
    Row(.roleNotGranted, .failedPrecondition, "etcdserver: role is not granted to the user"),
    Row(
      .permissionNotGranted,
      .failedPrecondition,
      "etcdserver: permission is not granted to the role"
    ),
    Row(.authNotEnabled, .failedPrecondition, "etcdserver: authentication is not enabled"),
    Row(.invalidAuthToken, .unauthenticated, "etcdserver: invalid auth token"),
    Row(.invalidAuthManagement, .invalidArgument, "etcdserver: invalid auth management"),
    Row(.oldAuthRevision, .invalidArgument, "etcdserver: revision of auth store is old"),
    Row(.memberIDExists, .failedPrecondition, "etcdserver: member ID already exist"),
    Row(.peerURLExists, .failedPrecondition, "etcdserver: Peer URLs already exists"),
    Row(
      .notEnoughStarted,
      .failedPrecondition,
      "etcdserver: re-configuration failed due to not enough started members"
    ),
    Row(.badMemberURLs, .invalidArgument, "etcdserver: given member URLs are invalid"),
    Row(.notLearner, .failedPrecondition, "etcdserver: can only promote a learner member"),
    Row(
      .learnerNotReady,
      .failedPrecondition,
      "etcdserver: can only promote a learner member which is in sync with leader"
    ),
    Row(
      .tooManyLearners,
      .failedPrecondition,
      "etcdserver: too many learner members in cluster"
    ),
    Row(.unhealthy, .unavailable, "etcdserver: unhealthy cluster"),
    Row(
      .timeoutLeaderFailure,
      .unavailable,
      "etcdserver: request timed out, possibly due to previous leader failure"
    ),
    Row(
      .timeoutConnectionLost,
      .unavailable,
      "etcdserver: request timed out, possibly due to connection lost"
    ),
    Row(
      .learnerUnsupported,
      .failedPrecondition,
      "etcdserver: rpc not supported for learner"
    ),
  ]

  @Test("a row's code and text", arguments: rows)
  func row(_ row: Row) {
    #expect(RPCStatus(row.error) == RPCStatus(row.code, row.text))
  }

  @Test("every error has its row here, once")
  func complete() {
    #expect(Self.rows.map(\.error) == RequestError.allCases)
  }
}
