import Base
import Raft

/// Looks at all members of a simulation at once, as no member can, for broken promises.
struct Checker {
  /// The leader of each term that had one.
  private var leaders: [Term: MemberID] = [:]

  /// The term and the state machine's digest at each committed index, from 1.
  private var terms: [Term] = []
  private var digests: [UInt64] = []

  /// For each open read request: who asked, and what was committed then.
  var readsOpen: [UInt64: (member: Int, floor: LogIndex)] = [:]

  /// How far each member's commit index was checked, and its role then.
  var commitsSeen: [LogIndex] = []
  var rolesSeen: [Role] = []

  /// How many reads were answered.
  private(set) var readsAnswered = 0

  /// The last entry that any member knew to be committed.
  var committed: LogIndex { LogIndex(UInt64(terms.count)) }

  private func fail(_ text: String) -> Simulation.Violation { .init(description: text) }

  /// Checks what member `at` may have changed by the last event.
  mutating func check(_ members: [TestMember], _ at: Int) throws {
    guard members[at].isRunning else { return }
    let role = members[at].node.role
    let isOrWasLeader = role == .leader || rolesSeen[at] == .leader
    if role == .leader, rolesSeen[at] != .leader { try checkNewLeader(members[at].node) }
    rolesSeen[at] = role
    if members[at].node.commit > commitsSeen[at] {
      try checkCommits(members, members[at].node, at, isOrWasLeader)
    }
  }

  /// Election safety and leader completeness.
  private mutating func checkNewLeader(_ node: borrowing RaftNode) throws {
    if let other = leaders[node.term], other != node.id {
      throw fail("election safety: \(other) and \(node.id) lead term \(node.term)")
    }
    leaders[node.term] = node.id
    if node.lastIndex < committed {
      throw fail("leader completeness: \(node.id) ends at \(node.lastIndex), not \(committed)")
    }
    var index = max(node.firstIndex, LogIndex(1))
    while index <= committed {
      if node.term(at: index) != terms[Int(index.rawValue) - 1] {
        throw fail("leader completeness: \(node.id) has another entry at \(index)")
      }
      index = index + 1
    }
  }

  /// State machine safety, and that nothing commits before a quorum of disks has it.
  private mutating func checkCommits(
    _ members: [TestMember],
    _ node: borrowing RaftNode,
    _ at: Int,
    _ isOrWasLeader: Bool
  ) throws {
    var index = max(commitsSeen[at] + 1, node.firstIndex)
    commitsSeen[at] = node.commit
    if index > node.commit { return }
    let entries = node.entries
    while index <= node.commit {
      let entry = entries[Int(index - node.firstIndex)]
      if index <= committed {
        if terms[Int(index.rawValue) - 1] != entry.term {
          throw fail("state machine safety: \(node.id) commits another entry at \(index)")
        }
      } else {
        guard index == committed + 1 else { throw fail("\(node.id) skips to \(index)") }
        terms.append(entry.term)
        digests.append(TestMachine.chain(digests.last ?? 0, entry))
        // (A leader that was removed may have left with this commit.)
        guard isOrWasLeader else {
          throw fail("\(node.id) commits \(entry.index) before any leader does")
        }
        if index == node.commit { try checkDurable(members, node, entry) }
      }
      index = index + 1
    }
  }

  private func checkDurable(
    _ members: [TestMember],
    _ node: borrowing RaftNode,
    _ entry: Entry
  ) throws {
    let result = JointQuorum(node.confState).result { id in
      members[Int(id.rawValue) - 1].disk.term(at: entry.index) == entry.term
    }
    if result != .won { throw fail("durability: \(entry.index) is committed without a quorum") }
    if entry.term != node.term { throw fail("\(entry.index) of an old term committed by counting") }
  }

  func checkMachine(_ machine: TestMachine, of id: MemberID) throws {
    let position = Int(machine.applied.rawValue) - 1
    if position >= digests.count || digests[position] != machine.digest {
      throw fail("state machine safety: \(id) differs at \(machine.applied)")
    }
  }

  mutating func checkRead(_ at: Int, _ state: ReadState) throws {
    guard let open = readsOpen.removeValue(forKey: state.context), open.member == at else {
      throw fail("read \(state.context) was answered to nobody, twice, or to the wrong member")
    }
    readsAnswered += 1
    if state.index < open.floor {
      throw fail("stale read: at \(state.index), \(open.floor) was committed before it began")
    }
  }

  mutating func forgetReads(of at: Int) {
    readsOpen = readsOpen.filter { $0.value.member != at }
  }

  /// Log matching: where two logs have the same term at an index they are the same up to there.
  func checkLogs(_ members: [TestMember]) throws {
    for left in members.indices {
      for right in members.indices where right > left {
        try checkLogs(members[left].node, members[right].node)
      }
    }
  }

  private func checkLogs(_ left: borrowing RaftNode, _ right: borrowing RaftNode) throws {
    let floor = max(left.firstIndex, right.firstIndex)
    var index = min(left.lastIndex, right.lastIndex)
    let leftEntries = left.entries
    let rightEntries = right.entries
    var isMatched = false
    while index >= floor, index > .zero {
      let leftEntry = leftEntries[Int(index - left.firstIndex)]
      let rightEntry = rightEntries[Int(index - right.firstIndex)]
      if leftEntry.term == rightEntry.term {
        isMatched = true
        if leftEntry != rightEntry {
          throw fail("log matching: \(left.id) and \(right.id) differ in content at \(index)")
        }
      } else if isMatched {
        throw fail("log matching: \(left.id) and \(right.id) differ at \(index)")
      }
      index = index - 1
    }
  }
}
