package import Base
package import Raft

/// What a replica is and how much it may hold.
package struct ReplicaConfiguration: Sendable {
  package var memberID: MemberID
  package var raft: RaftConfiguration

  /// Random, drawn anew at each start: an entry whose epoch is another's was proposed elsewhere
  /// or by an earlier life of this process, and nobody here waits for its answer.
  package var epoch: UInt64

  /// How many event loops take requests; handles name them from 0.
  package var loopCount: Int

  /// Where this member publishes itself to clients, and under which name.
  package var name: String
  package var clientURLs: [String]

  /// Whether a change of the membership must leave a quorum of started members.
  package var isReconfigurationStrict = true

  /// Whether a leader makes a learner that has caught up a voter by itself.
  package var promotesLearners = false

  /// A memtable is closed for flushing when it holds this much. The store keeps memory for its
  /// largest transaction, so more would cost more for good.
  package var memtableBytesMax = 8 << 20

  /// A memtable is also closed when so many leases were granted or ended since the last time.
  package var unstoredLeasesMax = 10_000

  /// How much longer leases live after a change of leader, in nanoseconds: an election timeout,
  /// for which the old leader may have gone on renewing. A leader that did not run for longer than
  /// this gives clients as much time again before anything expires.
  package var leaseExtensionNanoseconds: UInt64 = 1_000_000_000

  /// How many ticks there are in a second.
  package var ticksPerSecond = 10

  /// For how many ticks proposals and reads wait for a leader at most: as long as anybody waits for
  /// their answers.
  package var patienceTicks = 70

  /// Applying waits for the flusher when memtables hold this much together.
  package var storageBacklogBytesMax = 256 << 20

  /// Proposals are refused while committed entries of this weight wait to be applied.
  package var unappliedBytesMax = 128 << 20

  /// Proposals are refused while so many entries are in the log and not applied.
  package var unappliedEntriesMax: UInt64 = 100_000

  /// What of Raft's bound on uncommitted bytes is kept for what the member itself proposes
  /// (revocations, alarms), however many clients there are.
  package var urgentBytesReserved = 16 << 20

  /// The cluster's version as answers name it: `3.6`.
  package var clusterVersion = ""

  /// Memtables are closed, however little they hold, when entries of this weight were applied since
  /// the last time: requests that change nothing must not make the log grow for ever.
  package var unsealedLogBytesMax = 64 << 20

  /// The same by the number of entries, which is what a restart has to replay at most.
  package var unsealedEntriesMax: UInt64 = 1_000_000

  /// Applied entries that stay in memory and in the log for members that lag.
  package var catchUpEntriesMax: UInt64 = 5000

  /// Entries are dropped from memory earlier when they weigh more than this.
  package var catchUpBytesMax = 32 << 20

  /// While a snapshot is on its way to a member, entries after it stay in memory up to this weight.
  package var snapshotHoldBytesMax = 256 << 20

  /// How many entries are applied under one hold of the store's lock.
  package static let applyBatchMax = 1024

  package init(
    memberID: MemberID,
    epoch: UInt64,
    loopCount: Int,
    name: String,
    clientURLs: [String]
  ) {
    self.memberID = memberID
    self.epoch = epoch
    self.loopCount = loopCount
    self.name = name
    self.clientURLs = clientURLs
    raft = RaftConfiguration(id: memberID)
  }
}
