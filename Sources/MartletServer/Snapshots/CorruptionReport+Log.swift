import Base
import Logging
import Proto
import Replica

// What is said of members whose data differs, by who finds it and by who is accused.

extension Etcdserverpb.CorruptionReport {
  /// The hashes by member, in hexadecimal.
  var hashText: String {
    hashes.map { found in
      let hash = found.isUnreadable ? "unreadable" : String(found.hash, radix: 16)
      return "\(MemberID(found.memberID))=\(hash)"
    }.joined(separator: ", ")
  }

  var logMetadata: Logger.Metadata {
    var metadata: Logger.Metadata = [
      "hashes": "\(hashText)", "decidedBy": isByMajority ? "majority" : "leader",
    ]
    if index > 0 {
      metadata["index"] = "\(index)"
    } else {
      metadata["revision"] = "\(revision)"
      metadata["compactRevision"] = "\(compactRevision)"
      if !isByMajority { metadata["decidedBy"] = "nobody" }
    }
    return metadata
  }
}

extension MemberContext {
  /// Says which members' data is not to be trusted, `.none` for that of all, and proposes the alarm
  /// CORRUPT for those that do not have it.
  func raiseCorruption(
    of suspects: [MemberID],
    _ report: Etcdserverpb.CorruptionReport
  ) {
    for suspect in suspects where !status.alarms.contains(AlarmTable.Alarm(suspect, .corrupt)) {
      var metadata = report.logMetadata
      metadata["member"] = "\(suspect)"
      logger.critical(
        suspect == .none
          ? "members' data differs and no majority agrees: nothing may be changed any more"
          : "a member's data differs from the others': it must not serve any more",
        metadata: metadata
      )
      var batch = ProposalBatch(epoch: epoch, capacity: 256)
      batch.append(corruptionOf: suspect, report)
      replica.post(.ownProposals(batch.take()))
    }
  }
}
