import Glibc
import Synchronization

/// The open outputs of a log. Any thread may write; a line reaches each output by one write(2),
/// so lines never mix. A write that fails is dropped: a log must not stop a server.
package final class LogSink: Sendable {
  /// Longer lines are cut: a pipe's reader, or a full disk, must not see half of several.
  package static let lineBytesMax = 64 << 10

  private enum Target {
    case shared(Int32)
    case file(LogFile)
  }

  /// Held while a line is written, because a pipe may take it in parts.
  private let targets: Mutex<[Target]>

  /// Opens the outputs; a file is made with mode 0600 and appended to, and put aside when it is full as
  /// `rotation` says.
  ///
  /// Throws when a file cannot be opened; the message names it and says why.
  package init(
    _ outputs: [LogSettings.Output],
    rotation: LogRotation? = nil
  ) throws(ConfigurationError) {
    var all: [Target] = []
    for output in outputs {
      switch output {
      case .standardError: all.append(.shared(STDERR_FILENO))
      case .standardOutput: all.append(.shared(STDOUT_FILENO))
      case .file(let path):
        do throws(LogFile.OpenFailure) {
          all.append(.file(try LogFile(path: path, rotation: rotation)))
        } catch {
          for case .file(let file) in all { file.close() }
          throw .invalid("--log-outputs: cannot open \(path): \(error.reason).")
        }
      }
    }
    targets = Mutex(all)
  }

  deinit {
    targets.withLock { targets in
      for case .file(let file) in targets { file.close() }
    }
  }

  /// Writes one line; the line end is added here.
  package func write(_ line: consuming String) {
    var bytes = Array(line.utf8.prefix(Self.lineBytesMax - 1))
    bytes.append(0x0a)
    targets.withLock { targets in
      bytes.withUnsafeBytes { bytes in
        for place in targets.indices {
          switch targets[place] {
          case .shared(let descriptor): Self.write(bytes, to: descriptor)
          case .file(var file):
            file.willWrite(bytes.count)
            targets[place] = .file(file)
            Self.write(bytes, to: file.descriptor)
          }
        }
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
