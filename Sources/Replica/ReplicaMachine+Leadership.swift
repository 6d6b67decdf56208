package import Base
import Raft

// Handing leadership over: by wish, before a stop, and because the disk hangs.
extension ReplicaMachine {
  /// Begins to hand leadership to `target`, or to the voter that is furthest when that is nil.
  /// Returns whom it goes to; nil when this member does not lead or nobody can take over. Whether it
  /// arrives shows in `status.leader`; it is given up after an election timeout.
  package func transferLeadership(to target: MemberID? = nil) -> MemberID? {
    guard raft.role == .leader, let target = target ?? heir else { return nil }
    raft.transferLeadership(to: target)
    return raft.leadTransferee == target ? target : nil
  }

  /// Whom leadership is being handed to; `.none` when it is not.
  package var transferee: MemberID { raft.leadTransferee }

  /// The voter that was heard lately and has most of the log.
  private var heir: MemberID? {
    var heir: PeerStatus?
    for peer in raft.progress
    where peer.id != configuration.memberID && !peer.isLearner && peer.isRecentlyActive {
      if heir.map({ peer.match > $0.match }) ?? true { heir = peer }
    }
    return heir?.id
  }

  /// Whether the disk has been at work on one write for longer than an election takes. A lone member
  /// has nobody who could do better.
  package var isDiskStalled: Bool {
    guard let oldest = writesUnderWay.first, !isAlone else { return false }
    return tickCount - oldest.tick > UInt64(configuration.raft.electionTimeoutTicks)
  }

  /// With each tick. A member whose disk hangs can acknowledge nothing: it hands over, steps down
  /// when that does not work, and does not try to lead until the disk answers.
  func watchDisk() {
    let isStalled = isDiskStalled
    raft.mayLead = !isStalled
    guard isStalled else {
      handOverTick = nil
      return
    }
    guard raft.role == .leader else { return raft.stepDown() }
    if let begin = handOverTick {
      if tickCount - begin > UInt64(configuration.raft.electionTimeoutTicks) { raft.stepDown() }
    } else if transferLeadership() != nil {
      handOverTick = tickCount
    } else {
      raft.stepDown()
    }
  }
}
