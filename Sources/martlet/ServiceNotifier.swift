import Glibc

/// Tells systemd how far the process is (sd_notify): a datagram to the socket that `NOTIFY_SOCKET`
/// names. Without that variable, as outside a unit of `Type=notify`, it does nothing.
///
/// A message that cannot be sent is dropped: systemd then ends the start after its own time limit,
/// and nothing here could do better.
struct ServiceNotifier: Sendable {
  /// A state that the service manager is told.
  enum State: String {
    /// The member serves clients.
    case ready = "READY=1"
    /// The member has begun to stop.
    case stopping = "STOPPING=1"
  }

  static let variable = "NOTIFY_SOCKET"

  /// A path, or a name in the abstract space after `@`; nil when nobody asked to be told.
  private let name: String?

  init(environment: [String: String]) {
    let name = environment[Self.variable] ?? ""
    let isAddress = (name.hasPrefix("/") || name.hasPrefix("@")) && name.utf8.count > 1
    self.name = isAddress ? name : nil
  }

  func tell(_ state: State) {
    guard let name, var address = Self.address(name) else { return }
    let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { return }
    defer { close(descriptor) }
    let pathOffset = MemoryLayout<sockaddr_un>.offset(of: \.sun_path) ?? 0
    let length = socklen_t(pathOffset + name.utf8.count)
    let message = Array(state.rawValue.utf8)
    withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
        _ = sendto(
          descriptor,
          message,
          message.count,
          Int32(MSG_NOSIGNAL),
          generic,
          length
        )
      }
    }
  }

  /// nil when the name is longer than an address can hold.
  private static func address(_ name: String) -> sockaddr_un? {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    var bytes = Array(name.utf8)
    // A name in the abstract space begins with a zero byte.
    if bytes[0] == UInt8(ascii: "@") { bytes[0] = 0 }
    let isHeld = withUnsafeMutableBytes(of: &address.sun_path) { path in
      guard bytes.count < path.count else { return false }
      path.copyBytes(from: bytes)
      return true
    }
    return isHeld ? address : nil
  }
}
