import Base
import Foundation
import Raft
import Testing

/// How long one entry takes through a sole voter: propose, ready, persisted, applied. Prints the
/// figures when `RAFT_BENCH=1`; otherwise it only checks that all is applied.
@Suite struct ThroughputTests {
  private static let isMeasuring = ProcessInfo.processInfo.environment["RAFT_BENCH"] == "1"

  /// Nanoseconds per entry.
  private static func measure(batch: Int, entries: Int, compactAfter: UInt64) throws -> Double {
    var node = try makeNode(voters: 1...1)
    try node.lead()
    let block = ByteBlock(
      adopting: UnsafeMutableRawPointer.allocate(byteCount: 256, alignment: 8),
      count: 256
    )
    let payloads = Array(repeating: SharedBytes(block, 0..<256), count: batch)
    var applied = 0
    let start = ContinuousClock.now
    for _ in 0..<(entries / batch) {
      try node.propose(payloads)
      while node.hasReady {
        let ready = node.ready()
        node.persisted(through: ready.sequence)
        guard let last = ready.committedEntries.last else { continue }
        applied += ready.committedEntries.count
        node.applied(through: last.index)
        if node.applied.rawValue - node.firstIndex.rawValue > 2 * compactAfter {
          node.compact(through: node.applied - compactAfter)
        }
      }
    }
    let elapsed = ContinuousClock.now - start
    #expect(applied >= entries / batch * batch)
    return Double(elapsed.components.attoseconds) / 1e9 / Double(applied)
      + Double(elapsed.components.seconds) * 1e9 / Double(applied)
  }

  @Test func soleVoter() throws {
    let entries = Self.isMeasuring ? 2_000_000 : 20_000
    for batch in [1, 10, 100, 2000] {
      let cost = try Self.measure(batch: batch, entries: entries, compactAfter: 5000)
      if Self.isMeasuring { print("sole voter, batches of \(batch): \(Int(cost)) ns per entry") }
    }
  }
}
