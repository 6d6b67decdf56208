import MartletClient
import Proto
import Terminal

/// `make-mirror`.
enum MirrorCommand {
  static let flags = [
    Flag(
      "dest-cacert",
      "file of the authorities of the destination's certificates",
      values: .files
    ),
    Flag("dest-cert", "file of the certificate shown to the destination", values: .files),
    Flag("dest-insecure-transport", .bool, "true", "speak to the destination without encryption"),
    Flag("dest-key", "file of the key of --dest-cert", values: .files),
    Flag("dest-password", .string, "", "password of --dest-user"),
    Flag("dest-prefix", .string, "", "what stands at the destination in place of --prefix"),
    Flag("dest-user", .string, "", "name[:password] at the destination"),
    Flag("max-txn-ops", .integer, "128", "operations of one transaction at the destination"),
    Flag("no-dest-prefix", .bool, "", "leave the prefix away at the destination"),
    Flag("prefix", .string, "", "mirror only keys that begin so"),
    Flag("rev", .integer, "0", "begin with the changes of this revision, and copy nothing before"),
  ]

  static let all = [
    Command(
      path: ["make-mirror"],
      usage: "[options] <destination>",
      summary: "copies keys to another cluster, and changes as they happen",
      flags: flags,
      run: run
    )
  ]

  /// How keys change on their way.
  struct Rewriting: Sendable {
    var prefix: [UInt8]
    var replacement: [UInt8]

    func callAsFunction(_ key: [UInt8]) -> [UInt8] { replacement + key.dropFirst(prefix.count) }
  }

  private static let reportInterval = Duration.seconds(30)
  private static let retryPause = Duration.seconds(1)
  private static let pageKeys: Int64 = 1000
  /// Pages are made shorter for large values: what a transaction carries at most.
  private static let transactionBytesMax = 1 << 20

  private static func run(_ invocation: Invocation) async throws {
    let flags = invocation.flags
    guard invocation.arguments.count == 1 else {
      throw Failure.badArguments("make-mirror takes one destination argument")
    }
    if flags.bool("no-dest-prefix"), !flags["dest-prefix"].isEmpty {
      throw Failure.badArguments(
        "`--dest-prefix` and `--no-dest-prefix` cannot be set at the same time, choose one"
      )
    }
    let prefix = RawText.bytes(flags["prefix"])
    var replacement = RawText.bytes(flags["dest-prefix"])
    if replacement.isEmpty, !flags.bool("no-dest-prefix") { replacement = prefix }
    let client = try destination(invocation)
    try await invocation.withConnection { source in
      let mirror = Mirroring(
        source: source,
        destination: Connection(client: client, timeout: invocation.timeout),
        rewriting: Rewriting(prefix: prefix, replacement: replacement),
        operationsMax: max(1, Int(flags.integer("max-txn-ops"))),
        showsProgress: invocation.showsProgress
      )
      try await mirror.run(from: flags.integer("rev"))
    }
  }

  private static func destination(_ invocation: Invocation) throws -> Client {
    let flags = invocation.flags
    var settings = ConnectionSettings()
    settings.endpoints = invocation.arguments[0].split(separator: ",").map(String.init)
    settings.authoritiesFile = flags["dest-cacert"]
    settings.certificateFile = flags["dest-cert"]
    settings.keyFile = flags["dest-key"]
    settings.mayBePlain = flags.bool("dest-insecure-transport")
    settings.connectTimeout = flags.duration("dial-timeout")
    settings.credentials = try Connection.credentials(
      user: flags["dest-user"],
      password: flags["dest-password"],
      prompt: "Destination Password: "
    )
    return try settings.client()
  }

  /// The copying.
  private struct Mirroring: Sendable {
    let source: Connection
    let destination: Connection
    let rewriting: Rewriting
    let operationsMax: Int
    let showsProgress: Bool

    func run(from revision: Int64) async throws {
      let counter = Counter()
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask {
          while true {
            try await Task.sleep(for: reportInterval)
            Streams.print("\(counter.count)")
          }
        }
        group.addTask { try await copy(from: revision, counter) }
        defer { group.cancelAll() }
        try await group.next()
      }
    }

    private func copy(from revision: Int64, _ counter: Counter) async throws {
      var next = revision
      if next == 0 { next = try await copyAll(counter) + 1 }
      let range: KeyRange = rewriting.prefix.isEmpty ? .all : .prefix(rewriting.prefix)
      let watch = try await source.client.watch(range, WatchOptions(startRevision: next))
      for try await batch in watch.batches {
        // A transaction cannot change a key twice: one for each revision.
        var rest = batch.events[...]
        while let first = rest.first {
          let same = rest.prefix { $0.revision == first.revision }
          rest = rest.dropFirst(same.count)
          try await send(same.map(operation), counter)
        }
      }
    }

    private func operation(_ event: WatchEvent) -> Etcdserverpb.RequestOp {
      event.kind == .put
        ? put(event.key, event.keyValue.value)
        : {
          var operation = Etcdserverpb.RequestOp()
          let key = rewriting(event.key)
          operation.request = .requestDeleteRange(Etcdserverpb.DeleteRangeRequest(key: key))
          return operation
        }()
    }

    private func put(_ key: [UInt8], _ value: [UInt8]) -> Etcdserverpb.RequestOp {
      var operation = Etcdserverpb.RequestOp()
      operation.request = .requestPut(Etcdserverpb.PutRequest(key: rewriting(key), value: value))
      return operation
    }

    /// Copies what is there; returns the revision at which it was read.
    private func copyAll(_ counter: Counter) async throws -> Int64 {
      let prefix = rewriting.prefix
      var request = Etcdserverpb.RangeRequest(
        key: prefix.isEmpty ? [0] : prefix,
        rangeEnd: prefix.isEmpty ? [0] : KeyEnd.ofPrefix(prefix)
      )
      request.limit = pageKeys
      let progress = ProgressBar("copying", in: .items, isWanted: showsProgress)
      defer { progress.abandon() }
      var total: Int64 = 0
      while true {
        let response = try await source.range(request)
        if request.revision == 0 {
          request.revision = response.header?.revision ?? 0
          total = response.count
        }
        try await send(response.kvs.map { put($0.key, $0.value) }, counter)
        progress.show(UInt64(counter.count), of: UInt64(max(0, total)))
        guard response.more, let last = response.kvs.last?.key else {
          progress.finish()
          return request.revision
        }
        request.key = last + [0]
      }
    }

    /// Sends operations in as few transactions as the limits allow, and tries each until it is done.
    private func send(
      _ operations: [Etcdserverpb.RequestOp],
      _ counter: Counter
    ) async throws {
      var rest = operations[...]
      while !rest.isEmpty {
        var part: [Etcdserverpb.RequestOp] = []
        var bytes = 0
        while let operation = rest.first, part.count < operationsMax {
          bytes += operation.encodedSize
          if !part.isEmpty, bytes > transactionBytesMax { break }
          part.append(operation)
          rest = rest.dropFirst()
        }
        try await commit(part)
        counter.add(part.count)
      }
    }

    private func commit(_ operations: [Etcdserverpb.RequestOp]) async throws {
      let request = Etcdserverpb.TxnRequest(compare: [], success: operations, failure: [])
      while true {
        do throws(ClientError) {
          // Sent twice it does what it does when sent once: only we write there.
          let _: Etcdserverpb.TxnResponse = try await destination.call(
            "KV/Txn",
            request,
            isRead: true
          )
          return
        } catch {
          guard error.outcome != .refused, error.code != .canceled else { throw error }
          Streams.warn("the destination does not answer (\(error.goText)); trying again")
        }
        try await Task.sleep(for: retryPause)
      }
    }
  }
}
