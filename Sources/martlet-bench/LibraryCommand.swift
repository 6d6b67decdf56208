import ArgumentParser
import Histogram
import MartletClient
import NIOCore
import Synchronization

extension MartletBench {
  /// The client library as a program uses it: `await` in as many tasks as there are clients.
  struct Library: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Puts or reads through the client library, MartletClient.",
      discussion: """
        Each client is a task that makes its calls one after the other; all share one Client, whose \
        connection there is one for each endpoint. Figures compare with those of put and range with \
        one connection.
        """
    )

    enum Operation: String, ExpressibleByArgument, CaseIterable {
      case put, get
    }

    @Argument(help: "What a client calls: put or get.")
    var operation: Operation

    @Option(help: "Servers, host:port, separated by commas; calls take them in turn.")
    var endpoints = "127.0.0.1:2379"

    @Option(help: "Calls under way at a time.")
    var clients = 1

    @Option(help: "Calls to make.")
    var total = 10_000

    @Flag(help: "Print the report as one line of JSON.")
    var json = false

    @OptionGroup var keys: KeyOptions

    mutating func validate() throws {
      guard clients >= 1, total >= 1 else {
        throw ValidationError("--clients and --total must be at least 1")
      }
      _ = try LoadOptions.addresses(endpoints)
    }

    func run() async throws {
      let client = try Client(endpoints: endpoints.split(separator: ",").map(String.init))
      // Connected before the clock runs, as the other loads are; and reads have something to find.
      var chooser = KeyChooser(keys, loop: 0, loopCount: 1)
      let value = PutWorkload.value(keys)
      try await client.kv.put(chooser.nextKey(), value)
      let load = LibraryLoad(client, operation, value, total)
      let start = NIODeadline.now()
      var result = await withTaskGroup(of: LoadResult.self) { group in
        for number in 0..<clients {
          let chooser = KeyChooser(keys, loop: number, loopCount: clients)
          group.addTask { await load.run(chooser) }
        }
        var sum = LoadResult()
        for await result in group { sum.add(result) }
        return sum
      }
      result.seconds = Double((NIODeadline.now() - start).nanoseconds) / 1e9
      await client.close()
      print(json ? result.json : result.text)
      if result.failures > 0 { throw ExitCode(1) }
    }
  }
}

/// The calls of all tasks together.
private final class LibraryLoad: Sendable {
  private let kv: KV
  private let operation: MartletBench.Library.Operation
  private let value: [UInt8]
  private let total: Int
  private let started = Atomic<Int>(0)
  private let client: Client

  init(
    _ client: Client,
    _ operation: MartletBench.Library.Operation,
    _ value: [UInt8],
    _ total: Int
  ) {
    self.client = client
    kv = client.kv
    self.operation = operation
    self.value = value
    self.total = total
  }

  /// Makes one call after the other until all have been started.
  func run(_ chooser: KeyChooser) async -> LoadResult {
    var chooser = chooser
    var result = LoadResult()
    while started.add(1, ordering: .relaxed).oldValue < total {
      let start = NIODeadline.now()
      do throws(ClientError) {
        let key = chooser.nextKey()
        switch operation {
        case .put: try await kv.put(key, value)
        case .get: _ = try await kv.get(key)
        }
        let nanoseconds = (NIODeadline.now() - start).nanoseconds
        result.latencies.record(UInt64(max(nanoseconds / 1000, 1)))
      } catch {
        result.failures += 1
        result.note(text: "\(error)")
      }
    }
    return result
  }
}

extension KeyChooser {
  /// The next key.
  fileprivate mutating func nextKey() -> [UInt8] {
    var key: [UInt8] = []
    withNextKey { key = Array($0) }
    return key
  }
}
