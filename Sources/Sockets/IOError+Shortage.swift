import Glibc
package import NIOCore

extension IOError {
  /// Whether the system had nothing left for a connection: files, memory or ports.
  package var isShortage: Bool {
    [EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL].contains(errnoCode)
  }
}
