import Base
import Raft

/// Reads that could not be asked for, or whose question was lost, and are asked again.
struct HeldReads {
  /// To be asked once there is a leader.
  var contexts: [UInt64] = []
  /// When each read that was held came, until it is answered or given up.
  var since: [UInt64: UInt64] = [:]
}

// Linearizable reads: asking for them, and asking again.
extension ReplicaMachine {
  /// Asks for a linearizable read; `context` comes back in `readyReads` or `lostReads`.
  ///
  /// In a cluster of several, a read whose leader is lost is asked again, with a new question to
  /// the next leader: no answer to an older question counts for it. It is lost when its time is over.
  package func requestRead(_ context: UInt64) -> Bool {
    do {
      try raft.requestReadIndex(context)
      return true
    } catch {
      guard !isAlone, error == .noLeader else { return false }
      hold(read: context)
      return true
    }
  }

  private func hold(read context: UInt64) {
    heldReads.contexts.append(context)
    if heldReads.since[context] == nil { heldReads.since[context] = tickCount }
  }

  func lose(reads: [UInt64], into output: inout ReplicaOutput) {
    guard !reads.isEmpty else { return }
    if isAlone {
      output.lostReads.append(contentsOf: reads)
      for context in reads { heldReads.since[context] = nil }
    } else {
      for context in reads { hold(read: context) }
    }
  }

  func askHeldReads() {
    guard !heldReads.contexts.isEmpty, raft.leader != .none else { return }
    let contexts = heldReads.contexts
    heldReads.contexts.removeAll()
    for context in contexts {
      if (try? raft.requestReadIndex(context)) == nil { hold(read: context) }
    }
  }

  /// Gives up reads that waited for too long. Those of which a question is under way come here when
  /// it is lost.
  func expireReads() {
    guard !heldReads.contexts.isEmpty else { return }
    let patience = UInt64(configuration.patienceTicks)
    var kept: [UInt64] = []
    for context in heldReads.contexts {
      if let since = heldReads.since[context], since + patience < tickCount {
        heldReads.since[context] = nil
        expiredReads.append(context)
      } else {
        kept.append(context)
      }
    }
    heldReads.contexts = kept
  }

  func serveReads(into output: inout ReplicaOutput) {
    if !expiredReads.isEmpty {
      output.lostReads.append(contentsOf: expiredReads)
      expiredReads.removeAll()
    }
    guard !waitingReads.isEmpty else { return }
    for read in waitingReads where read.index <= applied.index {
      output.readyReads.append(read.context)
      if !heldReads.since.isEmpty { heldReads.since[read.context] = nil }
    }
    waitingReads.removeAll { $0.index <= applied.index }
  }
}
