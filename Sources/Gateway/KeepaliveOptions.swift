import Glibc
import NIOCore

/// How the system asks whether the other end of a silent connection lives.
enum KeepaliveOption {
  /// Seconds of silence before the first question.
  case keepIdle
  /// Seconds between questions.
  case keepInterval

  fileprivate var number: CInt {
    switch self {
    case .keepIdle: TCP_KEEPIDLE
    case .keepInterval: TCP_KEEPINTVL
    }
  }
}

extension ChannelOption where Self == ChannelOptions.Types.SocketOption {
  static func tcpOption(_ option: KeepaliveOption) -> Self {
    .init(level: .tcp, name: NIOBSDSocket.Option(rawValue: option.number))
  }
}
