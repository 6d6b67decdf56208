package import Base

/// Decides how many applied entries stay in memory for members that lag: at most so many entries,
/// and at most so many bytes.
package final class CatchUpWindow {
  private let entriesMax: UInt64
  private let bytesMax: Int
  /// Weights of the applied entries kept, oldest first, summed up in groups of one `note`.
  private var groups: [(last: LogIndex, bytes: Int)] = []
  private var groupsStart = 0
  private var bytes = 0

  package init(entriesMax: UInt64, bytesMax: Int) {
    self.entriesMax = entriesMax
    self.bytesMax = bytesMax
  }

  /// Forgets all entries: the log begins anew.
  package func removeAll() {
    groups = []
    groupsStart = 0
    bytes = 0
  }

  /// Entries up to `last` were applied; they weigh `bytes` together. Returns up to where entries
  /// may be dropped, or nil when nothing new may.
  package func note(appliedThrough last: LogIndex, bytes added: Int) -> LogIndex? {
    groups.append((last, added))
    bytes += added
    var dropped: LogIndex?
    while groupsStart < groups.count - 1 {
      let oldest = groups[groupsStart]
      guard bytes > bytesMax || last - oldest.last >= entriesMax else { break }
      bytes -= oldest.bytes
      dropped = oldest.last
      groupsStart += 1
    }
    if groupsStart > 1024 {
      groups.removeFirst(groupsStart)
      groupsStart = 0
    }
    return dropped
  }
}
