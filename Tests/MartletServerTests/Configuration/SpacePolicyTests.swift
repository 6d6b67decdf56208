import MartletServer
import Testing

/// When a file is rewritten without its holes, unasked.
@Suite("Space policy")
struct SpacePolicyTests {
  static let second: UInt64 = 1_000_000_000

  /// A policy that expectations may ask, which takes a reference.
  final class Asked {
    private var policy = SpacePolicy()

    func shouldBegin(_ sizes: SpacePolicy.Sizes, now: UInt64) -> Bool {
      policy.shouldBegin(sizes, now: now)
    }

    func ended(begin: UInt64, now: UInt64) { policy.ended(begin: begin, now: now) }
  }

  static func sizes(onDisk: Int, inUse: Int, free: Int = 10 << 30) -> SpacePolicy.Sizes {
    SpacePolicy.Sizes(bytesOnDisk: onDisk, bytesInUse: inUse, freeBytes: free)
  }

  @Test("only a file that is large and mostly holes, and stays so")
  func waste() {
    let settle = SpacePolicy().settleNanoseconds
    for (sizes, isWasteful) in [
      (Self.sizes(onDisk: 1 << 30, inUse: 1 << 28), true),
      (Self.sizes(onDisk: 1 << 30, inUse: 1 << 29), true),
      (Self.sizes(onDisk: 1 << 30, inUse: (1 << 29) + (1 << 20)), false),
      (Self.sizes(onDisk: 60 << 20, inUse: 0), false),
      (Self.sizes(onDisk: 0, inUse: 0), false),
      (Self.sizes(onDisk: 1 << 30, inUse: 1 << 28, free: 1 << 28), false),
      (Self.sizes(onDisk: 1 << 30, inUse: 1 << 28, free: (1 << 28) + (64 << 20)), true),
    ] {
      let policy = Asked()
      #expect(!policy.shouldBegin(sizes, now: 5), "not at first sight: \(sizes)")
      #expect(!policy.shouldBegin(sizes, now: 4 + settle), "\(sizes)")
      #expect(policy.shouldBegin(sizes, now: 5 + settle) == isWasteful, "\(sizes)")
    }
  }

  @Test("a store that fills again in between begins to count anew")
  func settles() {
    let policy = Asked()
    let settle = SpacePolicy().settleNanoseconds
    let holes = Self.sizes(onDisk: 1 << 30, inUse: 0)
    #expect(!policy.shouldBegin(holes, now: 0))
    #expect(!policy.shouldBegin(Self.sizes(onDisk: 1 << 30, inUse: 1 << 30), now: settle - 1))
    #expect(!policy.shouldBegin(holes, now: settle))
    #expect(!policy.shouldBegin(holes, now: 2 * settle - 1))
    #expect(policy.shouldBegin(holes, now: 2 * settle))
  }

  @Test("not again before the pause is over, which grows with what the last one took")
  func pauses() {
    let holes = Self.sizes(onDisk: 1 << 30, inUse: 0)
    for (took, pause) in [(Self.second, 600 * Self.second), (60 * Self.second, 1200 * Self.second)]
    {
      let policy = Asked()
      policy.ended(begin: 0, now: took)
      #expect(!policy.shouldBegin(holes, now: took))
      #expect(!policy.shouldBegin(holes, now: took + pause - 1), "after \(took)")
      #expect(policy.shouldBegin(holes, now: took + pause), "after \(took)")
    }
  }
}

@Suite("Versions of downgrades")
struct ClusterVersionTests {
  @Test(
    "what etcd takes for a version",
    arguments: [
      ("3.5", "3.5"), ("3.5.0", "3.5"), ("3.5.99", "3.5"), ("3.5.0-rc.1", "3.5"),
      ("3.5.0+build", "3.5"), ("10.20", "10.20"),
    ]
  )
  func accepted(_ text: String, _ version: String) {
    #expect(ClusterVersion(text).map { "\($0)" } == version)
  }

  @Test(
    "and what not",
    arguments: [
      "", "3", "3.", ".5", "3.5.", "3.5.0.1", "v3.5", "3.5-rc", "a.b", "3.-5", "3.5.0-",
      "99999999999999999999.1", "3 .5", "٣.٥",
    ]
  )
  func refused(_ text: String) {
    #expect(ClusterVersion(text) == nil)
  }
}
