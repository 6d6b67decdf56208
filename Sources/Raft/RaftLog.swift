package import Base
import DequeModule

/// The part of the log that is in memory, and how far each thing has come with it.
///
/// At any time `offset <= committed <= lastIndex`, `durable <= handedOut <= lastIndex` and
/// `applied <= applying <= min(committed, durable)`, except that `applied` and `applying` stay below
/// `offset` while a snapshot is being installed.
package struct RaftLog: Sendable {
  /// The entries after `offset`, in order, without gaps.
  private var entries: Deque<Entry>

  /// The last entry that is not in memory any more, and its term. Zero at the log's beginning.
  package private(set) var offset: LogIndex
  package private(set) var offsetTerm: Term

  /// The last entry known to be committed.
  package private(set) var committed: LogIndex

  /// The last entry that was handed out to be applied.
  package private(set) var applying: LogIndex

  /// The last entry that the owner reported as applied.
  package private(set) var applied: LogIndex

  /// The last entry of this log that the owner's disk holds.
  package private(set) var durable: LogIndex

  /// The last entry that was handed out to be written.
  package private(set) var handedOut: LogIndex

  /// Writes under way, oldest first. A truncation lowers their `lastIndex`: when such a write
  /// completes it proves nothing about entries that were replaced since.
  private var writes: Deque<Write> = []

  private struct Write {
    var sequence: UInt64
    var lastIndex: LogIndex
  }

  /// A log that is all durable.
  package init(
    offset: LogIndex = .zero,
    offsetTerm: Term = .zero,
    entries: [Entry] = [],
    committed: LogIndex = .zero,
    applied: LogIndex = .zero
  ) {
    self.entries = Deque(entries)
    self.offset = offset
    self.offsetTerm = offsetTerm
    self.committed = committed
    self.applied = applied
    applying = applied
    durable = offset + UInt64(entries.count)
    handedOut = durable
  }

  package var firstIndex: LogIndex { offset + 1 }
  package var lastIndex: LogIndex { offset + UInt64(entries.count) }
  package var lastTerm: Term { entries.last?.term ?? offsetTerm }

  /// The last entry that may be handed out to be applied: committed, and durable here, so that the
  /// state machine never knows more than the log.
  package var applicable: LogIndex { min(committed, durable) }

  /// The entry's term; nil when the log does not know it.
  package func term(at index: LogIndex) -> Term? {
    if index > offset, index <= lastIndex { return entries[position(index)].term }
    return index == offset ? offsetTerm : nil
  }

  private func position(_ index: LogIndex) -> Int { Int(index.rawValue - offset.rawValue - 1) }

  /// Whether a log that ends with (`index`, `term`) holds everything that this one may have
  /// committed.
  package func isUpToDate(index: LogIndex, term: Term) -> Bool {
    term > lastTerm || (term == lastTerm && index >= lastIndex)
  }

  /// The highest index not above `index` whose term is not above `term`, and its term: the last place
  /// where a log with `term` at `index` can agree with this one. Where the log does not reach, the
  /// term is zero.
  package func agreement(notAbove index: LogIndex, _ term: Term) -> (LogIndex, Term) {
    guard index >= offset else { return (index, .zero) }
    // Terms never fall along the log: search for the first that is too high.
    var low = 0
    var high = Int(min(index, lastIndex).rawValue - offset.rawValue)
    while low < high {
      let middle = (low + high) / 2
      if entries[middle].term <= term { low = middle + 1 } else { high = middle }
    }
    if low > 0 { return (offset + UInt64(low), entries[low - 1].term) }
    if offsetTerm <= term || offset == .zero { return (offset, offsetTerm) }
    return (offset - 1, .zero)
  }
}

// Reading
extension RaftLog {
  /// The entries after `index` through `end`, as many as weigh at most `bytesMax`, but one at least.
  package func slice(after index: LogIndex, through end: LogIndex, bytesMax: Int) -> [Entry] {
    precondition(
      index >= offset && end <= lastIndex,
      "\(index)...\(end) of \(offset)...\(lastIndex)"
    )
    guard index < end else { return [] }
    let start = position(index + 1)
    var count = Int(end - index)
    if bytesMax < Int.max {
      var bytes = entries[start].size
      var fitting = 1
      while fitting < count {
        bytes += entries[start + fitting].size
        if bytes > bytesMax { break }
        fitting += 1
      }
      count = fitting
    }
    return [Entry](unsafeUninitializedCapacity: count) { buffer, initialized in
      guard let base = buffer.baseAddress else { return }
      for offset in 0..<count { (base + offset).initialize(to: entries[start + offset]) }
      initialized = count
    }
  }

  /// The summed weight of the entries after `index` through `end`.
  package func size(after index: LogIndex, through end: LogIndex) -> Int {
    precondition(index >= offset && end <= lastIndex)
    var bytes = 0
    for position in Int(index - offset)..<Int(end - offset) { bytes += entries[position].size }
    return bytes
  }

  /// The last change of the membership after `index` through `end`.
  package func lastConfiguration(after index: LogIndex, through end: LogIndex) -> LogIndex? {
    let floor = max(index, offset)
    guard floor < end else { return nil }
    var position = Int(end - offset)
    let stop = Int(floor - offset)
    while position > stop {
      position -= 1
      if entries[position].payload.isConfiguration { return offset + UInt64(position + 1) }
    }
    return nil
  }
}

// Writing
extension RaftLog {
  /// Adds one entry at the end.
  package mutating func append(term: Term, _ payload: Payload) {
    entries.append(Entry(term: term, index: lastIndex + 1, payload: payload))
  }

  /// Adds entries with the given contents at the end.
  package mutating func append(term: Term, _ payloads: [SharedBytes]) {
    entries.reserveCapacity(entries.count + payloads.count)
    var index = lastIndex.rawValue
    for bytes in payloads {
      index += 1
      entries.append(Entry(term: term, index: LogIndex(index), payload: .normal(bytes)))
    }
  }

  /// Takes over a leader's entries, which follow an entry that both logs agree on.
  ///
  /// Entries that are there already stay; from the first that differs on, the log's are replaced.
  /// Throws `conflictsWithCommitted`, changing nothing, where that would undo a committed entry.
  package mutating func merge(_ new: [Entry]) throws(RaftError) {
    var known = 0
    while known < new.count, term(at: new[known].index) == new[known].term { known += 1 }
    guard known < new.count else { return }
    let index = new[known].index
    if index <= committed { throw .conflictsWithCommitted }
    if index <= lastIndex { truncate(from: index) }
    precondition(index == lastIndex + 1)
    entries.append(contentsOf: new[known...])
  }

  private mutating func truncate(from index: LogIndex) {
    entries.removeLast(Int(lastIndex - index) + 1)
    forgetWrites(after: index - 1)
  }

  private mutating func forgetWrites(after index: LogIndex) {
    handedOut = min(handedOut, index)
    durable = min(durable, index)
    for position in writes.indices {
      writes[position].lastIndex = min(writes[position].lastIndex, index)
    }
  }

  /// Replaces everything by a snapshot.
  package mutating func reset(to snapshot: SnapshotMetadata) {
    precondition(snapshot.index > committed)
    entries.removeAll()
    forgetWrites(after: .zero)
    offset = snapshot.index
    offsetTerm = snapshot.term
    committed = snapshot.index
    handedOut = snapshot.index
  }

  /// Drops entries through `index`, which must be applied, from memory.
  package mutating func compact(through index: LogIndex) {
    guard index > offset else { return }
    precondition(index <= applied, "compaction through \(index), applied is \(applied)")
    offsetTerm = term(at: index) ?? offsetTerm
    entries.removeFirst(Int(index - offset))
    offset = index
  }
}

// Progress
extension RaftLog {
  /// Raises the committed index.
  package mutating func commit(through index: LogIndex) {
    precondition(index <= lastIndex, "commit of \(index), the log ends at \(lastIndex)")
    committed = max(committed, index)
  }

  /// The entries that were not handed out to be written, which they now are, under `sequence`.
  package mutating func handOut(sequence: UInt64) -> [Entry] {
    let new = slice(after: max(handedOut, offset), through: lastIndex, bytesMax: .max)
    handedOut = lastIndex
    writes.append(Write(sequence: sequence, lastIndex: lastIndex))
    return new
  }

  /// Everything handed out under `sequence` or before is durable.
  package mutating func persisted(through sequence: UInt64) {
    while let write = writes.first, write.sequence <= sequence {
      durable = max(durable, write.lastIndex)
      writes.removeFirst()
    }
  }

  /// The next entries to apply, which now count as handed out.
  package mutating func takeApplicable(bytesMax: Int) -> [Entry] {
    guard applying < applicable else { return [] }
    let taken = slice(after: applying, through: applicable, bytesMax: bytesMax)
    applying = applying + UInt64(taken.count)
    return taken
  }

  /// Entries through `index` are applied.
  package mutating func applied(through index: LogIndex) {
    precondition(index <= applying, "applied \(index), only \(applying) was handed out")
    applied = max(applied, index)
  }

  /// The state machine is that of a snapshot at `index`.
  package mutating func installed(at index: LogIndex) {
    applied = max(applied, index)
    applying = max(applying, index)
  }
}
