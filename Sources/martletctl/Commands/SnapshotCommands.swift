import Glibc
import MartletClient
import Proto

/// `snapshot ...`.
enum SnapshotCommands {
  static let restoreFlags = [
    Flag("bump-revision", .integer, "0", "let revisions go on so much later"),
    Flag("data-dir", .string, "", "the data directory to make"),
    Flag("initial-advertise-peer-urls", .string, "http://localhost:2380", "the member's peer URLs"),
    Flag("initial-cluster", .string, "default=http://localhost:2380", "the new cluster's members"),
    Flag("initial-cluster-token", .string, "etcd-cluster", "tells clusters apart"),
    Flag("initial-memory-map-size", .integer, "0", "has no meaning here"),
    Flag("mark-compacted", .bool, "", "forget the history before the bumped revision"),
    Flag("name", .string, "default", "the member's name"),
    Flag("skip-hash-check", .bool, "", "take a file without a checksum at its end"),
    Flag("wal-dir", .string, "", "where the log goes"),
  ]

  static let all = [
    Command(
      path: ["snapshot", "save"],
      usage: "<filename>",
      summary: "writes a member's database to a file",
      run: save
    ),
    Command(
      path: ["snapshot", "status"],
      usage: "<filename>",
      summary: "prints what is in such a file; martletutl has it too",
      formats: .withoutProtobuf,
      run: status
    ),
    Command(
      path: ["snapshot", "restore"],
      usage: "<filename> [options]",
      summary: "makes a data directory of such a file; martletutl has it too",
      flags: restoreFlags,
      run: restore
    ),
  ]

  private static func save(_ invocation: Invocation) async throws {
    guard invocation.arguments.count == 1 else {
      throw Failure.badArguments("snapshot save expects one argument")
    }
    let endpoints = try await Connection.endpoints(invocation.flags)
    guard endpoints.count == 1 else {
      let list = endpoints.joined(separator: " ")
      throw Failure(
        .interrupted,
        "snapshot must be requested to one selected node, not multiple [\(list)]"
      )
    }
    let path = invocation.arguments[0]
    let file = try PartFile(path)
    let connection = try await Connection(invocation, endpoints: endpoints)
    let progress = ProgressBar("saving")
    do {
      var written: UInt64 = 0
      for try await piece in connection.client.maintenance.snapshot(of: endpoints[0]) {
        try file.write(piece.bytes)
        written += UInt64(piece.bytes.count)
        progress.total = written + piece.remainingBytes
        progress.show(written)
      }
      progress.clear()
      try file.finish()
    } catch {
      progress.clear()
      file.discard()
      await connection.client.close()
      if let error = error as? ClientError { throw Failure(error, .interrupted) }
      throw error
    }
    await connection.client.close()
    Streams.print("Snapshot saved at \(path)")
  }

  private static func status(_ invocation: Invocation) async throws {
    guard invocation.arguments.count == 1 else {
      throw Failure.badArguments("snapshot status requires exactly one argument")
    }
    let format = ["--write-out", invocation.flags["write-out"]]
    try OfflineTool.replace(
      with: ["snapshot", "status"] + format + ["--", invocation.arguments[0]]
    )
  }

  private static func restore(_ invocation: Invocation) async throws {
    guard invocation.arguments.count == 1 else {
      throw Failure.badArguments("snapshot restore requires exactly one argument")
    }
    let given = restoreFlags.filter {
      invocation.flags.isSet($0.name) && $0.name != "initial-memory-map-size"
    }
    let flags = given.map { "--\($0.name)=\(invocation.flags[$0.name])" }
    try OfflineTool.replace(
      with: ["snapshot", "restore"] + flags + ["--", invocation.arguments[0]]
    )
  }
}

/// A file that is there only when it is whole: written beside, synced, renamed.
final class PartFile {
  private let path: String
  private var part: String { path + ".part" }
  private var descriptor: Int32

  /// Throws `Failure` when the file cannot be made.
  init(_ path: String) throws {
    self.path = path
    descriptor = open(path + ".part", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      let part = path + ".part"
      let reason = SystemError.text(errno)
      throw Failure(.interrupted, "could not open \(part) (open \(part): \(reason))")
    }
  }

  deinit {
    if descriptor >= 0 { close(descriptor) }
  }

  func write(_ bytes: [UInt8]) throws {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count > 0 {
        rest = rest.dropFirst(count)
      } else if errno != EINTR {
        throw failure("write")
      }
    }
  }

  /// Makes it durable under its name.
  func finish() throws {
    guard fsync(descriptor) == 0 else { throw failure("fsync") }
    close(descriptor)
    descriptor = -1
    guard rename(part, path) == 0 else {
      let reason = SystemError.text(errno)
      throw Failure(.interrupted, "could not rename \(part) to \(path) (\(reason))")
    }
    let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
    let directory = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard directory >= 0 else { return }
    fsync(directory)
    close(directory)
  }

  func discard() {
    if descriptor >= 0 { close(descriptor) }
    descriptor = -1
    unlink(part)
  }

  private func failure(_ what: String) -> Failure {
    Failure(.interrupted, "\(what) \(part): \(SystemError.text(errno))")
  }
}

/// `martletutl`, which works on files.
enum OfflineTool {
  /// Becomes that program. Returns only by throwing.
  static func replace(with arguments: [String]) throws {
    var own = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
    let length = readlink("/proc/self/exe", &own, own.count - 1)
    let path = String(
      decoding: own.prefix(max(0, length)).map { UInt8(bitPattern: $0) },
      as: UTF8.self
    )
    let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? ""
    let beside = folder + "martletutl"
    let program = access(beside, X_OK) == 0 ? beside : "martletutl"
    var words = (["martletutl"] + arguments).map { RawText.copy($0) } + [nil]
    execvp(program, &words)
    for word in words { free(word) }
    throw Failure(
      .error,
      "\(arguments.prefix(2).joined(separator: " ")) is the work of martletutl, "
        + "which cannot be run: \(SystemError.text(errno))"
    )
  }
}
