import ArgumentParser
import NIOCore
import NIOPosix

/// Makes load against any server of the etcd v3 API and measures how it answers.
@main
struct MartletBench: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "martlet-bench",
    abstract: "Measures a server of the etcd v3 API under load.",
    discussion: """
      Without --rate each client makes its next call when the last one is answered. With it, calls \
      start at that rate whatever the server does, and latency counts from when a call was due.
      """,
    subcommands: [
      Put.self, Range.self, TxnPut.self, TxnMixed.self, STM.self, Watch.self, WatchLatency.self,
      LeaseKeepAlive.self, Library.self,
    ]
  )

  /// Runs a load on as many event loops as asked for and prints the report.
  static func run<Load: Workload>(
    _ options: LoadOptions,
    _ makeWorkload: (_ loop: Int) -> Load
  ) async throws {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: options.threads)
    let counter = ProgressCounter()
    let bar = Task { await ProgressBar(total: options.total, counter: counter).run() }
    let addresses = try options.addresses()
    let tls = try options.tls.client(endpoints: options.endpoints)
    do {
      // Connections do not hold the loops, which must outlive them.
      let loops = LoadShare.split(options).enumerated().map { number, share in
        LoadLoop(makeWorkload(number), share: share, on: group.next(), progress: counter)
      }
      defer { withExtendedLifetime(loops) {} }
      let running = loops.map { $0.run(addresses, tls: tls) }
      var result = LoadResult()
      for future in running { result.add(try await future.get()) }
      bar.cancel()
      await bar.value
      print(options.json ? result.json : result.text)
      try await group.shutdownGracefully()
      if result.failures > 0 { throw ExitCode(1) }
    } catch {
      bar.cancel()
      try? await group.shutdownGracefully()
      throw error
    }
  }
}

extension MartletBench {
  struct Put: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Puts values.")
    @OptionGroup var load: LoadOptions
    @OptionGroup var keys: KeyOptions

    func run() async throws {
      try await MartletBench.run(load) { loop in
        PutWorkload(keys, keys: KeyChooser(keys, loop: loop, loopCount: load.threads))
      }
    }
  }

  struct Range: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Reads keys.")
    @OptionGroup var load: LoadOptions
    @OptionGroup var keys: KeyOptions

    @Option(help: "l for linearizable reads, s for serializable ones.")
    var consistency = "l"

    @Flag(help: "Read all keys from the chosen one on.")
    var fromKey = false

    @Option(help: "Keys to read at most; 0: no limit.")
    var limit = 0

    mutating func validate() throws {
      guard ["l", "s"].contains(consistency) else {
        throw ValidationError("--consistency must be l or s")
      }
      guard limit >= 0 else { throw ValidationError("--limit must not be negative") }
    }

    func run() async throws {
      try await MartletBench.run(load) { loop in
        RangeWorkload(
          keys: KeyChooser(keys, loop: loop, loopCount: load.threads),
          isSerializable: consistency == "s",
          isOpen: fromKey,
          limit: limit
        )
      }
    }
  }

  struct TxnPut: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "txn-put",
      abstract: "Puts values in transactions."
    )
    @OptionGroup var load: LoadOptions
    @OptionGroup var keys: KeyOptions

    @Option(help: "Puts in one transaction; with more than one, keys should be sequential.")
    var txnOps = 1

    mutating func validate() throws {
      guard txnOps >= 1 else { throw ValidationError("--txn-ops must be at least 1") }
    }

    func run() async throws {
      try await MartletBench.run(load) { loop in
        TxnPutWorkload(
          puts: PutWorkload(keys, keys: KeyChooser(keys, loop: loop, loopCount: load.threads)),
          operationsPerTxn: txnOps
        )
      }
    }
  }

  struct TxnMixed: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "txn-mixed",
      abstract: "Reads and writes in transactions."
    )
    @OptionGroup var load: LoadOptions
    @OptionGroup var keys: KeyOptions

    @Option(help: "Reads for each write.")
    var rwRatio = 1.0

    mutating func validate() throws {
      guard rwRatio >= 0 else { throw ValidationError("--rw-ratio must not be negative") }
    }

    func run() async throws {
      try await MartletBench.run(load) { loop in
        TxnMixedWorkload(
          puts: PutWorkload(keys, keys: KeyChooser(keys, loop: loop, loopCount: load.threads)),
          readsPerWrite: rwRatio
        )
      }
    }
  }

  struct STM: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "stm",
      abstract: "Reads a key and writes it if it has not changed meanwhile, until that holds."
    )
    @OptionGroup var load: LoadOptions
    @OptionGroup var keys: KeyOptions

    func run() async throws {
      try await MartletBench.run(load) { loop in
        STMWorkload(keys, keys: KeyChooser(keys, loop: loop, loopCount: load.threads))
      }
    }
  }
}
