import MartletClient
import Proto
import Terminal

/// `snapshot ...`.
enum SnapshotCommands {
  static let restoreFlags = [
    Flag("bump-revision", .integer, "0", "let revisions go on so much later"),
    Flag("data-dir", "the data directory to make", values: .files),
    Flag("initial-advertise-peer-urls", .string, "http://localhost:2380", "the member's peer URLs"),
    Flag("initial-cluster", .string, "default=http://localhost:2380", "the new cluster's members"),
    Flag("initial-cluster-token", .string, "etcd-cluster", "tells clusters apart"),
    Flag("initial-memory-map-size", .integer, "0", "has no meaning here"),
    Flag("mark-compacted", .bool, "", "forget the history before the bumped revision"),
    Flag("name", .string, "default", "the member's name"),
    Flag("skip-hash-check", .bool, "", "take a file without a checksum at its end"),
    Flag("wal-dir", "where the log goes", values: .files),
  ]

  static let all = [
    Command(
      path: ["snapshot", "save"],
      usage: "<filename>",
      summary: "writes a member's database to a file",
      takesFiles: true,
      run: save
    ),
    Command(
      path: ["snapshot", "status"],
      usage: "<filename>",
      summary: "prints what is in such a file; martletutl has it too",
      formats: .withoutProtobuf,
      takesFiles: true,
      run: status
    ),
    Command(
      path: ["snapshot", "restore"],
      usage: "<filename> [options]",
      summary: "makes a data directory of such a file; martletutl has it too",
      flags: restoreFlags,
      formats: .withoutProtobuf,
      takesFiles: true,
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
    let progress = ProgressBar("saving", in: .bytes, isWanted: invocation.showsProgress)
    do {
      var written: UInt64 = 0
      for try await piece in connection.client.maintenance.snapshot(of: endpoints[0]) {
        try file.write(piece.bytes)
        written += UInt64(piece.bytes.count)
        progress.show(written, of: written + piece.remainingBytes)
      }
      try file.finish()
      progress.finish()
    } catch {
      progress.abandon()
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
    try replace(invocation, with: "status", [])
  }

  private static func restore(_ invocation: Invocation) async throws {
    guard invocation.arguments.count == 1 else {
      throw Failure.badArguments("snapshot restore requires exactly one argument")
    }
    let given = restoreFlags.filter {
      invocation.flags.isSet($0.name) && $0.name != "initial-memory-map-size"
    }
    let flags = given.map { "--\($0.name)=\(invocation.flags[$0.name])" }
    try replace(invocation, with: "restore", flags)
  }

  private static func replace(
    _ invocation: Invocation,
    with command: String,
    _ flags: [String]
  ) throws {
    let format = "--write-out=\(invocation.flags["write-out"])"
    try OfflineTool.replace(
      with: ["snapshot", command, format] + flags + ["--", invocation.arguments[0]]
    )
  }
}
