import Foundation
import NIOCore
import NIOPosix
import Testing

/// etcd in a process of its own.
enum EtcdProcess {
  /// A bound on the life of a process whose test died, in seconds.
  static let lifeSecondsMax = 120

  /// Runs `body` with the address of a new server.
  ///
  /// `scheme`: How its clients' port is reached.
  static func run(
    _ kind: ServerKind,
    scheme: String = "http",
    _ arguments: [String] = [],
    _ body: (String) async throws -> Void
  ) async throws {
    await ServerGate.shared.enter()
    defer { ServerGate.shared.leave() }
    let program = try #require(kind.etcdPath)
    let folder = try TestFolder()
    let (client, peer) = try await freePorts()
    let process = try spawn(
      [
        "/usr/bin/timeout", "-s", "KILL", "\(lifeSecondsMax)", program,
        "--data-dir", "\(folder.path)/data", "--log-level", "error",
        "--listen-client-urls", "\(scheme)://127.0.0.1:\(client)",
        "--advertise-client-urls", "\(scheme)://127.0.0.1:\(client)",
        "--listen-peer-urls", "http://127.0.0.1:\(peer)",
        "--initial-advertise-peer-urls", "http://127.0.0.1:\(peer)",
        "--initial-cluster", "default=http://127.0.0.1:\(peer)",
        "--unsafe-no-fsync",
      ] + arguments
    )
    defer {
      // The process and its child are a group of their own.
      kill(-process, SIGKILL)
      waitpid(process, nil, 0)
    }
    try await waitUntilListening(client)
    try await body("127.0.0.1:\(client)")
    withExtendedLifetime(folder) {}
  }

  /// What writes to a server that does not listen yet through a proxy learns nothing of its outcome.
  private static func waitUntilListening(_ port: Int) async throws {
    let bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
    try await eventually {
      guard let channel = try? await bootstrap.connect(host: "127.0.0.1", port: port).get() else {
        return false
      }
      try await channel.close()
      return true
    }
  }

  /// Runs its arguments without the sockets of other tests: a port would go on to accept as long as
  /// the child has it.
  private static let closeInherited = """
    for file in /proc/self/fd/*; do
      number=${file##*/}
      if [ "$number" -gt 2 ]; then eval "exec $number>&-"; fi
    done
    exec "$@"
    """

  /// Starts a process that leads a group of its own, with no signals blocked and no output.
  private static func spawn(_ arguments: [String]) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    for descriptor in 0...2 as ClosedRange<Int32> {
      posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_RDWR, 0)
    }
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var signals = sigset_t()
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    let flags = POSIX_SPAWN_SETPGROUP | Int32(POSIX_SPAWN_SETSIGMASK)
    posix_spawnattr_setflags(&attributes, Int16(flags))
    let command = ["/bin/bash", "-c", closeInherited, "bash"] + arguments
    var words: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) }
    defer { for word in words { free(word) } }
    words.append(nil)
    var process: pid_t = 0
    let code = posix_spawn(&process, command[0], &actions, &attributes, words, environ)
    try #require(code == 0, "posix_spawn: \(code)")
    return process
  }

  /// Two ports on which nobody listens, and which the system gives to nobody who asks for any.
  static func freePorts() async throws -> (Int, Int) {
    while true {
      let port = Int.random(in: 20_000..<32_000)
      let bootstrap = ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      guard let first = try? await bootstrap.bind(host: "127.0.0.1", port: port).get() else {
        continue
      }
      let second = try? await bootstrap.bind(host: "127.0.0.1", port: port + 1).get()
      try await first.close()
      guard let second else { continue }
      try await second.close()
      return (port, port + 1)
    }
  }
}
