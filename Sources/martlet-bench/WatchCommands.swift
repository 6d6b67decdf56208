import ArgumentParser
import Glibc
import NIOCore
import NIOPosix

extension MartletBench {
  struct Watch: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Puts watched keys and counts the events that come."
    )
    @OptionGroup var watch: WatchOptions

    func run() async throws { try await WatchLoad.run(watch) }
  }

  struct WatchLatency: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "watch-latency",
      abstract: "Measures the time from a put to its events, at a fixed rate of puts.",
      discussion: "As watch, with a rate of 100 puts a second unless another is given."
    )
    @OptionGroup var watch: WatchOptions

    func run() async throws {
      var options = watch
      if options.rate == 0 {
        options.rate = 100
        options.clients = max(options.clients, 100)
      }
      try await WatchLoad.run(options)
    }
  }
}

/// Runs a watching load.
enum WatchLoad {
  static func run(_ options: WatchOptions) async throws {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: options.threads + 1)
    do {
      let report = try await measure(options, on: group)
      if let report { print(options.json ? report.json : report.text) }
      try await group.shutdownGracefully()
      if let report, report.result.missing > 0 || report.puts.failures > 0 { throw ExitCode(1) }
    } catch {
      try? await group.shutdownGracefully()
      throw error
    }
  }

  private static func measure(
    _ options: WatchOptions,
    on group: MultiThreadedEventLoopGroup
  ) async throws -> WatchReport? {
    let addresses = try options.addresses()
    let receivers = shares(options).map { WatchReceiver(options, share: $0, on: group.next()) }
    defer { withExtendedLifetime(receivers) {} }
    let begin = NIODeadline.now()
    let opening = receivers.map { $0.open(addresses) }
    for future in opening { try await future.get() }
    let watchers = (options.streams + options.slowStreams) * options.watchersPerStream
    let createSeconds = seconds(since: begin)
    if options.hold {
      hold(watchers, createSeconds)
      return nil
    }
    let putting = LoadLoop(
      TimedPutWorkload(options.keys),
      share: LoadShare(
        connections: 1,
        clients: options.clients,
        total: options.total,
        rate: options.rate
      ),
      on: group.next(),
      progress: ProgressCounter()
    )
    let start = NIODeadline.now().uptimeNanoseconds
    let finishing = receivers.map { $0.finish(expecting: $0.eventsExpected) }
    let puts = try await putting.run(addresses).get()
    withExtendedLifetime(putting) {}
    var result = WatchResult()
    for future in finishing { result.add(try await future.get()) }
    return WatchReport(
      watchers: watchers,
      createSeconds: createSeconds,
      puts: puts,
      result: result,
      seconds: result.end > start ? Double(result.end - start) / 1e9 : 0
    )
  }

  private static func seconds(since begin: NIODeadline) -> Double {
    Double((NIODeadline.now() - begin).nanoseconds) / 1e9
  }

  /// Says that the watches stand, and waits for the end of standard input.
  private static func hold(_ watchers: Int, _ createSeconds: Double) {
    print(#"{"watchers":\#(watchers),"createSeconds":\#(LoadResult.format(createSeconds))}"#)
    fflush(nil)
    while readLine() != nil {}
  }

  /// Divides connections and streams among the event loops that read.
  private static func shares(_ options: WatchOptions) -> [WatchReceiver.Share] {
    var firstWatcher = 0
    return (0..<options.threads).map { number in
      func part(_ whole: Int) -> Int {
        whole / options.threads + (number < whole % options.threads ? 1 : 0)
      }
      let share = WatchReceiver.Share(
        connections: part(options.connections),
        streams: part(options.streams),
        slowStreams: part(options.slowStreams),
        firstWatcher: firstWatcher
      )
      firstWatcher += (share.streams + share.slowStreams) * options.watchersPerStream
      return share
    }
  }
}
