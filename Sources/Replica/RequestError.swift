package import Auth
package import MVCC
import Raft

/// Why a request was refused: the rows of etcd's error table that this build can meet.
///
/// The status code and text that clients see are in `MartletServer`'s `ErrorTable`, one row each.
/// The raw value travels in replies between threads and nowhere else.
package enum RequestError: UInt8, Error, CaseIterable, Sendable {
  case keyNotProvided = 1
  case keyNotFound
  case valueProvided
  case leaseProvided
  case tooManyOperations
  case duplicateKey
  case invalidSortOption
  case compacted
  case futureRevision
  case noSpace
  case badLeaderTransferee
  case downgradeVersionFormat
  case downgradeTargetInvalid
  case downgradeInProgress
  case noDowngrade
  case leaseNotFound
  case leaseExists
  case leaseTimeToLiveTooLarge
  case requestTooLarge
  case tooManyRequests
  case noLeader
  case notLeader
  case serverStopped
  case timeout
  case memberNotFound
  case corrupt
  case rootUserNotExist
  case rootRoleNotExist
  case userAlreadyExists
  case userEmpty
  case userNotFound
  case roleAlreadyExists
  case roleNotFound
  case roleEmpty
  case authenticationFailed
  case permissionNotGiven
  case permissionDenied
  case roleNotGranted
  case permissionNotGranted
  case authNotEnabled
  case invalidAuthToken
  case invalidAuthManagement
  case oldAuthRevision
  case memberIDExists
  case peerURLExists
  case notEnoughStarted
  case badMemberURLs
  case notLearner
  case learnerNotReady
  case tooManyLearners
  case unhealthy
  case timeoutLeaderFailure
  case timeoutConnectionLost
  case learnerUnsupported
}

extension RequestError {
  package init(_ error: StoreError) {
    switch error {
    case .keyNotProvided: self = .keyNotProvided
    case .keyNotFound: self = .keyNotFound
    case .valueProvided: self = .valueProvided
    case .leaseProvided: self = .leaseProvided
    case .leaseNotFound: self = .leaseNotFound
    case .tooManyOperations: self = .tooManyOperations
    case .duplicateKey: self = .duplicateKey
    case .invalidSortOption: self = .invalidSortOption
    case .compacted: self = .compacted
    case .futureRevision: self = .futureRevision
    case .noSpace: self = .noSpace
    case .corrupt: self = .corrupt
    }
  }

  package init(_ error: AuthError) {
    switch error {
    case .rootUserNotExist: self = .rootUserNotExist
    case .rootRoleNotExist: self = .rootRoleNotExist
    case .userAlreadyExists: self = .userAlreadyExists
    case .userEmpty: self = .userEmpty
    case .userNotFound: self = .userNotFound
    case .roleAlreadyExists: self = .roleAlreadyExists
    case .roleNotFound: self = .roleNotFound
    case .roleEmpty: self = .roleEmpty
    case .permissionNotGiven: self = .permissionNotGiven
    case .permissionDenied: self = .permissionDenied
    case .roleNotGranted: self = .roleNotGranted
    case .permissionNotGranted: self = .permissionNotGranted
    case .invalidManagement: self = .invalidAuthManagement
    case .oldRevision: self = .oldAuthRevision
    }
  }

  init(_ error: ProposeError) {
    switch error {
    case .noLeader, .transferring: self = .noLeader
    case .dropped: self = .tooManyRequests
    // Only changes of the membership meet these.
    case .configurationPending: self = .tooManyRequests
    case .configurationInvalid: self = .notEnoughStarted
    }
  }
}
