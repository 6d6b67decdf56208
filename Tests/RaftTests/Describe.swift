import Base
import Raft

/// How the transcripts print things.
enum Describe {
  static func text(_ bytes: SharedBytes) -> String {
    String(decoding: bytes.array, as: UTF8.self)
  }

  static func ids(_ ids: [MemberID]) -> String {
    "(" + ids.map { $0.description }.joined(separator: " ") + ")"
  }

  static func confState(_ state: ConfState) -> String {
    var text = "voters=\(ids(state.voters))"
    if !state.votersOutgoing.isEmpty { text += " outgoing=\(ids(state.votersOutgoing))" }
    if !state.learners.isEmpty { text += " learners=\(ids(state.learners))" }
    if !state.learnersNext.isEmpty { text += " learners-next=\(ids(state.learnersNext))" }
    if state.autoLeave { text += " auto-leave" }
    return text
  }

  static func change(_ change: ConfChange) -> String {
    if change.leavesJoint { return "leave-joint" }
    let letters: [String] = change.changes.map { single in
      let letter =
        switch single.kind {
        case .addVoter: "v"
        case .addLearner: "l"
        case .removeNode: "r"
        case .updateNode: "u"
        }
      return letter + single.member.description
    }
    return letters.joined(separator: " ")
  }

  static func entry(_ entry: Entry) -> String {
    let content =
      switch entry.payload {
      case .empty: "-"
      case .normal(let bytes): text(bytes)
      case .configuration(let change): "conf[\(self.change(change))]"
      }
    return entry.index == .zero ? content : "\(entry.term)/\(entry.index):\(content)"
  }

  static func entries(_ entries: [Entry]) -> String {
    "[" + entries.map { entry($0) }.joined(separator: ", ") + "]"
  }

  static func message(_ message: Message) -> String {
    var text = "\(message.from)->\(message.to) \(message.kind)"
    if message.kind != .propose { text += " term=\(message.term)" }
    switch message.kind {
    case .app:
      text += " after=\(message.logTerm)/\(message.index) commit=\(message.commit)"
    case .vote, .preVote:
      text += " last=\(message.logTerm)/\(message.index)"
      if message.context == Message.contextTransfer { text += " transfer" }
    case .appResp where message.reject:
      text += " reject=\(message.index) hint=\(message.logTerm)/\(message.rejectHint)"
    case .appResp:
      text += " index=\(message.index)"
    case .voteResp, .preVoteResp:
      text += message.reject ? " rejected" : " granted"
    case .heartbeat:
      text += " commit=\(message.commit)"
      if message.context != 0 { text += " round=\(message.context)" }
    case .heartbeatResp:
      if message.context != 0 { text += " round=\(message.context)" }
    case .readIndexResp:
      text += " index=\(message.index)"
    case .transferLeader:
      text += " target=\(MemberID(message.context))"
    case .snapshot:
      if let snapshot = message.snapshot {
        text += " at=\(snapshot.term)/\(snapshot.index) \(confState(snapshot.confState))"
      }
    case .timeoutNow, .readIndex, .propose:
      break
    }
    if !message.entries.isEmpty { text += " \(entries(message.entries))" }
    return text
  }

  static func ready(_ ready: Ready) -> [String] {
    var lines: [String] = []
    if let soft = ready.softState { lines.append("\(soft.role), leader \(soft.leader)") }
    if let snapshot = ready.snapshotToInstall {
      lines.append("install \(snapshot.term)/\(snapshot.index)")
    }
    if let hard = ready.hardState {
      let sync = ready.mustSync ? "" : " (no sync)"
      lines.append("hard term=\(hard.term) vote=\(hard.vote) commit=\(hard.commit)\(sync)")
    }
    if !ready.entriesToAppend.isEmpty { lines.append("append \(entries(ready.entriesToAppend))") }
    for sent in ready.messages { lines.append("send \(message(sent))") }
    for sent in ready.messagesAfterPersist { lines.append("then \(message(sent))") }
    if !ready.committedEntries.isEmpty { lines.append("apply \(entries(ready.committedEntries))") }
    for read in ready.readStates { lines.append("read \(read.context) at \(read.index)") }
    for context in ready.readsLost { lines.append("read \(context) lost") }
    return lines
  }

  static func status(_ node: borrowing RaftNode) -> String {
    "\(node.role) term=\(node.term) vote=\(node.vote) leader=\(node.leader)"
      + " commit=\(node.commit) applied=\(node.applied) durable=\(node.durable)"
      + " log=\(node.firstIndex)...\(node.lastIndex) \(confState(node.confState))"
  }

  static func progress(_ peer: PeerStatus) -> String {
    var text = "\(peer.id) \(peer.state) match=\(peer.match) next=\(peer.next)"
    if peer.inflightMessages > 0 { text += " inflight=\(peer.inflightMessages)" }
    if peer.isLearner { text += " learner" }
    if !peer.isRecentlyActive { text += " inactive" }
    return text
  }
}
