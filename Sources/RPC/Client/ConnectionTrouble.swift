import Glibc
import NIOCore
import NIOPosix

/// Why a connection could not be made, in few words.
enum ConnectionTrouble {
  static func text(of error: any Error) -> String {
    switch error {
    case let error as NIOConnectionError:
      // The host may have several addresses; the last one's reason stands for all.
      let reason = error.connectionErrors.last?.error ?? error.dnsAError ?? error.dnsAAAAError
      return reason.map { text(of: $0) } ?? "\(error)"
    case let error as SocketAddressError.UnknownHost: return error.errorDescription
    case let error as IOError: return String(cString: strerror(error.errnoCode))
    default: return "\(error)"
    }
  }
}
