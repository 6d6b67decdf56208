import ArgumentParser
import NIOCore
import NIOPosix

extension MartletBench {
  struct LeaseKeepAlive: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "lease-keepalive",
      abstract: "Keeps leases alive, each client on a stream of its own."
    )
    @OptionGroup var load: LoadOptions

    @Option(help: "Leases in all, at least one for each client.")
    var leases = 1

    @Option(help: "Seconds that a lease lives.")
    var ttl: Int64 = 3600

    mutating func validate() throws {
      guard leases >= 1, ttl >= 1 else {
        throw ValidationError("--leases and --ttl must be at least 1")
      }
      guard load.rate == 0 else {
        throw ValidationError("lease-keepalive has no --rate: it is as fast as the server")
      }
    }

    func run() async throws {
      let group = MultiThreadedEventLoopGroup(numberOfThreads: load.threads)
      do {
        let addresses = try load.addresses()
        let shares = LoadShare.split(load)
        let loops = shares.map { share in
          LeaseLoop(
            share: share,
            leases: max(leases * share.clients / load.clients, share.clients),
            ttlSeconds: ttl,
            on: group.next()
          )
        }
        defer { withExtendedLifetime(loops) {} }
        let granting = loops.map { $0.prepare(addresses) }
        for future in granting { try await future.get() }
        let running = loops.map { $0.run() }
        var result = LoadResult()
        for future in running { result.add(try await future.get()) }
        print(load.json ? result.json : result.text)
        try await group.shutdownGracefully()
      } catch {
        try? await group.shutdownGracefully()
        throw error
      }
    }
  }
}
