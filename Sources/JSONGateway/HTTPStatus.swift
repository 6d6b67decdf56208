import RPC

/// How gRPC's codes look in HTTP, as etcd's gateway has it.
enum HTTPStatus {
  static func status(of code: RPCCode) -> Int {
    switch code {
    case .ok: 200
    case .canceled: 408
    case .invalidArgument, .outOfRange: 400
    case .deadlineExceeded: 504
    case .notFound: 404
    case .alreadyExists, .aborted: 409
    case .permissionDenied: 403
    case .unauthenticated: 401
    case .resourceExhausted: 429
    case .failedPrecondition: 412
    case .unimplemented: 501
    case .unavailable: 503
    case .unknown, .internal, .dataLoss: 500
    }
  }

  static func phrase(of status: Int) -> String {
    switch status {
    case 200: "OK"
    case 400: "Bad Request"
    case 401: "Unauthorized"
    case 403: "Forbidden"
    case 404: "Not Found"
    case 408: "Request Timeout"
    case 409: "Conflict"
    case 412: "Precondition Failed"
    case 429: "Too Many Requests"
    case 501: "Not Implemented"
    case 503: "Service Unavailable"
    case 504: "Gateway Timeout"
    default: "Internal Server Error"
    }
  }
}
