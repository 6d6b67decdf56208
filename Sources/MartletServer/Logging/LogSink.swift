import Glibc
import Synchronization

/// The open outputs of a log. Any thread may write; a line reaches each output by one write(2),
/// so lines never mix. A write that fails is dropped: a log must not stop a server.
package final class LogSink: Sendable {
  /// Longer lines are cut: a pipe's reader, or a full disk, must not see half of several.
  package static let lineBytesMax = 64 << 10

  /// Held while a line is written, because a pipe may take it in parts.
  private let descriptors: Mutex<[Int32]>
  private let owned: [Int32]

  /// Opens the outputs; a file is made with mode 0600 and appended to.
  ///
  /// Throws when a file cannot be opened; the message names it and says why.
  package init(_ outputs: [LogSettings.Output]) throws(ConfigurationError) {
    var all: [Int32] = []
    var owned: [Int32] = []
    for output in outputs {
      switch output {
      case .standardError: all.append(STDERR_FILENO)
      case .standardOutput: all.append(STDOUT_FILENO)
      case .file(let path):
        let descriptor = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
          let reason = String(cString: strerror(errno))
          for descriptor in owned { close(descriptor) }
          throw .invalid("--log-outputs: cannot open \(path): \(reason).")
        }
        all.append(descriptor)
        owned.append(descriptor)
      }
    }
    descriptors = Mutex(all)
    self.owned = owned
  }

  deinit {
    for descriptor in owned { close(descriptor) }
  }

  /// Writes one line; the line end is added here.
  package func write(_ line: consuming String) {
    var bytes = Array(line.utf8.prefix(Self.lineBytesMax - 1))
    bytes.append(0x0a)
    descriptors.withLock { descriptors in
      bytes.withUnsafeBytes { bytes in
        for descriptor in descriptors { Self.write(bytes, to: descriptor) }
      }
    }
  }

  private static func write(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = Glibc.write(
        descriptor,
        UnsafeRawBufferPointer(rebasing: rest).baseAddress,
        rest.count
      )
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return }
      rest = rest.dropFirst(count)
    }
  }
}
