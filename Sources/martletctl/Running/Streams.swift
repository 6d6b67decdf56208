import Glibc

/// The standard output and the standard error.
enum Streams {
  /// Writes all bytes; ends the process quietly when nobody reads them any more.
  static func write(_ bytes: [UInt8], to file: Int32 = STDOUT_FILENO) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
      if count > 0 {
        rest = rest.dropFirst(count)
      } else if errno != EINTR && errno != EAGAIN {
        if file == STDOUT_FILENO {
          exit(errno == EPIPE ? ExitCode.success.rawValue : ExitCode.inputOutput.rawValue)
        }
        return
      }
    }
  }

  static func print(_ text: String, terminator: String = "\n") {
    write(RawText.bytes(text + terminator))
  }

  static func warn(_ text: String) {
    write(RawText.bytes(text + "\n"), to: STDERR_FILENO)
  }

  /// Whether a person reads what is written there, so that colour and progress make sense.
  static func isTerminal(_ file: Int32) -> Bool { isatty(file) == 1 }

  /// Whether colour is wanted: on a terminal, unless the user says no (no-color.org).
  static var usesColour: Bool {
    guard isTerminal(STDOUT_FILENO), getenv("NO_COLOR") == nil else { return false }
    return getenv("TERM").map { String(cString: $0) } != "dumb"
  }
}

/// Lines of the standard input.
struct InputLines {
  private var buffer: [UInt8] = []
  private var isAtEnd = false

  /// What one line may have at most.
  static let lineBytesMax = 64 << 20
  private static let pieceBytes = 64 << 10

  /// The next line without its end, and whether it had one; nil after the last.
  mutating func next() throws -> (text: [UInt8], isWhole: Bool)? {
    var searched = 0
    while true {
      if let end = buffer[searched...].firstIndex(of: UInt8(ascii: "\n")) {
        let line = Array(buffer[..<end])
        buffer.removeSubrange(...end)
        return (line, true)
      }
      searched = buffer.count
      if isAtEnd {
        guard !buffer.isEmpty else { return nil }
        defer { buffer = [] }
        return (buffer, false)
      }
      guard buffer.count <= Self.lineBytesMax else {
        throw Failure(.invalidInput, "a line of the input is longer than 64 MiB")
      }
      let piece = Self.read(Self.pieceBytes)
      if piece.isEmpty { isAtEnd = true }
      buffer += piece
    }
  }

  /// All of the standard input, `bytesMax` at most. Throws when there is more.
  static func all(bytesMax: Int) throws -> [UInt8] {
    var bytes: [UInt8] = []
    while true {
      let piece = read(pieceBytes)
      if piece.isEmpty { return bytes }
      bytes += piece
      guard bytes.count <= bytesMax else {
        throw Failure(.invalidInput, "the input is longer than \(bytesMax) bytes")
      }
    }
  }

  private static func read(_ count: Int) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: count) { buffer, used in
      var got = -1
      repeat {
        got = Glibc.read(STDIN_FILENO, buffer.baseAddress, count)
      } while got < 0
        && errno == EINTR
      used = max(got, 0)
    }
  }
}
