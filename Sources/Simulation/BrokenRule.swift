/// A rule that the harness breaks on purpose, to show that the simulation would notice.
package enum BrokenRule: String, CaseIterable, Sendable {
  /// A leader takes entries for committed when it has sent them.
  case commitWithoutQuorum
  /// A write is reported durable when it was appended and before any sync.
  case ackBeforeSync
  /// A linearizable read does not ask whether its member still knows what is newest.
  case staleRead
  /// A flush writes its revisions and not how far the log is applied.
  case applyTwice
  /// A restart forgets for whom the member voted.
  case lostVote
  /// A leader's clock is fast beyond what is allowed.
  case leaseEarly
  /// A response of a watch is sent a second time.
  case watchRepeat
  /// A write whose sync failed is reported durable.
  case failedSyncCounts
  /// The log forgets what was applied and not yet flushed.
  case releaseTooEarly
  /// A flush writes how far the log is applied first, and the revisions in a second transaction.
  case flushInTwoHalves
  /// A restart takes the founders for the voters, removed ones too.
  case membershipForgotten
  /// A removed member goes on, and candidates count its votes.
  case removedVotes
  /// A leader counts what learners hold.
  case learnerCounts
  /// A snapshot is installed whose bytes were not compared with what was sent.
  case snapshotUnverified
  /// A member is sent an older copy of the store under the mark of now.
  case snapshotStale
  /// A snapshot is installed without the note that explains a store ahead of its log.
  case installWithoutNote
  /// A leader takes a message with proposals each time that it comes.
  case proposalsTakenTwice
}
