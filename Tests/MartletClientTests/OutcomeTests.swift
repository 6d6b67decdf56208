import MartletClient
import NIOCore
import Synchronization
import Testing

/// What errors say of a write's outcome, against what the store shows afterwards.
@Suite struct OutcomeTests {
  /// SplitMix64.
  struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var word = state
      word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
      word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
      return word ^ (word >> 31)
    }
  }

  enum Fault: CaseIterable {
    case none, cut, cutAmid, refuse, allow, slow, mute
  }

  /// Several writers, each key written by one call, while endpoints fail in ways that the seed
  /// chooses: no write is made twice, none that succeeded is missing, none that was "not done" is
  /// there.
  @Test(arguments: [1, 2], ServerKind.available)
  func noWriteIsLostOrMadeTwice(seed: UInt64, server: ServerKind) async throws {
    try await server.run { target in
      try await withProxies(3, to: target) { proxies in
        let told = Told()
        try await withClient(proxies.map(\.address)) { client in
          try await client.kv.put("warm", "")
          let isOver = Flag()
          async let faults: Void = Self.disturb(proxies, seed, until: isOver)
          await withTaskGroup(of: Void.self) { group in
            for writer in 0..<4 {
              group.addTask {
                for number in 0..<40 {
                  let key = "w/\(writer)/\(number)"
                  told.note(key, await Self.write(key, client))
                }
              }
            }
          }
          isOver.raise()
          await faults
        }
        var versions: [String: Int64] = [:]
        try await withClient([target]) { client in
          for keyValue in try await client.kv.range(.prefix("w/")).keyValues {
            versions[keyValue.keyText] = keyValue.version
          }
        }
        let outcomes = told.all
        #expect(outcomes.count == 160)
        for (key, outcome) in outcomes {
          let version = versions[key] ?? 0
          switch outcome {
          case nil: #expect(version == 1, "\(key) was written, seed \(seed)")
          case .notDone: #expect(version == 0, "\(key) was not done, seed \(seed)")
          case .unknown: #expect(version <= 1, "\(key) is unknown, seed \(seed)")
          case .refused: Issue.record("\(key) was refused, seed \(seed)")
          }
        }
        #expect(outcomes.values.contains { $0 == nil })
      }
    }
  }

  /// nil: it succeeded.
  private static func write(_ key: String, _ client: Client) async -> ClientError.Outcome? {
    do throws(ClientError) {
      _ = try await client.kv.withDeadline(.seconds(1)).put(key, "v")
      return nil
    } catch {
      return error.outcome
    }
  }

  private static func disturb(
    _ proxies: [FaultProxy],
    _ seed: UInt64,
    until isOver: Flag
  ) async {
    var generator = SeededGenerator(state: seed)
    while !isOver.isRaised {
      guard let proxy = proxies.randomElement(using: &generator),
        let fault = Fault.allCases.randomElement(using: &generator)
      else { return }
      switch fault {
      case .none: break
      case .cut: proxy.cut()
      case .cutAmid: proxy.cut(afterAnswerBytes: Int.random(in: 0..<300, using: &generator))
      case .refuse: proxy.set(.refuse)
      case .allow: for proxy in proxies { proxy.set(.pass) }
      case .slow: proxy.set(.slow(.milliseconds(5)))
      case .mute: proxy.set(.muteAnswers)
      }
      try? await Task.sleep(for: .milliseconds(5))
      // What was muted is missing from the connection: it must not go on.
      if fault == .mute {
        proxy.set(.pass)
        proxy.cut()
      }
    }
    for proxy in proxies { proxy.set(.pass) }
  }
}

/// What the writers were told of each key; nil: that it was written.
final class Told: Sendable {
  private let outcomes = Mutex<[String: ClientError.Outcome?]>([:])
  var all: [String: ClientError.Outcome?] { outcomes.withLock { $0 } }

  func note(_ key: String, _ outcome: ClientError.Outcome?) {
    outcomes.withLock { $0[key] = .some(outcome) }
  }
}

/// Said once, heard by all.
final class Flag: Sendable {
  private let state = Atomic<Bool>(false)
  var isRaised: Bool { state.load(ordering: .relaxed) }
  func raise() { state.store(true, ordering: .relaxed) }
}
