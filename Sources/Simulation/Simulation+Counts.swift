extension Simulation {
  /// What happened in a run: one in which nothing does proves nothing.
  package struct Counts: Sendable {
    package var members = 0
    package var answers = 0
    package var unknown = 0
    package var refused = 0
    package var reads = 0
    package var crashes = 0
    package var elections = 0
    package var faults = 0
    package var messages = 0
    package var lostMessages = 0
    package var events = 0
    package var expiries = 0
    package var renewals = 0
    package var locks = 0
    package var refusedStarts = 0
    package var checkerGaveUp = 0
    package var virtualSeconds = 0
    package var snapshots = 0
    package var installs = 0
    package var refusedSnapshots = 0
    package var memberChanges = 0
    package var retired = 0
    package var lostDisks = 0
    package var comparedStores = 0

    package init() {}

    package mutating func add(_ other: Counts) {
      members += other.members
      answers += other.answers
      unknown += other.unknown
      refused += other.refused
      reads += other.reads
      crashes += other.crashes
      elections += other.elections
      faults += other.faults
      messages += other.messages
      lostMessages += other.lostMessages
      events += other.events
      expiries += other.expiries
      renewals += other.renewals
      locks += other.locks
      refusedStarts += other.refusedStarts
      checkerGaveUp += other.checkerGaveUp
      virtualSeconds += other.virtualSeconds
      snapshots += other.snapshots
      installs += other.installs
      refusedSnapshots += other.refusedSnapshots
      memberChanges += other.memberChanges
      retired += other.retired
      lostDisks += other.lostDisks
      comparedStores += other.comparedStores
    }
  }
}
