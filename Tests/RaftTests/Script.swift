import Base
import Raft

/// The commands of the transcripts, run against a cluster in memory with a network that delivers
/// only what it is told to.
struct Script {
  private var members: [TestMember] = []
  private var network: [Envelope] = []
  private var output: [String] = []
  private var restarts: UInt64 = 0

  struct Misuse: Error {
    var text: String
  }

  /// A command's words, with `name=value` and flags set apart from plain arguments.
  struct Command {
    var name: String
    var arguments: [String] = []
    var options: [String: String] = [:]

    init(_ line: String) {
      var words = line.split(separator: " ").map { String($0) }
      name = words.removeFirst()
      for word in words {
        if let equals = word.firstIndex(of: "=") {
          options[String(word[..<equals])] = String(word[word.index(after: equals)...])
        } else {
          arguments.append(word)
        }
      }
    }

    func number(_ position: Int) throws -> UInt64 {
      guard position < arguments.count, let number = UInt64(arguments[position]) else {
        throw Misuse(text: "\(name): argument \(position) is no number")
      }
      return number
    }

    func list(_ option: String) -> [MemberID]? {
      options[option]?.split(separator: ",").compactMap { UInt64($0).map { MemberID($0) } }
    }
  }

  /// Runs one command and returns what it printed.
  mutating func run(_ line: String) throws -> [String] {
    output = []
    let command = Command(line)
    if command.name == "add-nodes" {
      try addNodes(command)
    } else if command.name == "stabilize" {
      try stabilize(command)
    } else {
      try runOnMember(command)
    }
    return output.isEmpty ? ["ok"] : output
  }

  private mutating func addNodes(_ command: Command) throws {
    let count = try command.number(0)
    var state = ConfState()
    state.voters = command.list("voters") ?? (1...count).map { MemberID($0) }
    state.learners = command.list("learners") ?? []
    for number in 1...count {
      var configuration = RaftConfiguration(id: MemberID(number))
      configuration.preVote = command.arguments.contains("prevote")
      configuration.checkQuorum = command.arguments.contains("checkquorum")
      if let inflight = command.options["inflight"].flatMap({ Int($0) }) {
        configuration.inflightMessagesMax = inflight
      }
      if let ticks = command.options["heartbeat"].flatMap({ Int($0) }) {
        configuration.heartbeatTimeoutTicks = ticks
      }
      if let bytes = command.options["message-bytes"].flatMap({ Int($0) }) {
        configuration.messageBytesMax = bytes
      }
      if let bytes = command.options["uncommitted-bytes"].flatMap({ Int($0) }) {
        configuration.uncommittedBytesMax = bytes
      }
      var disk = TestDisk()
      // Whoever joins later starts from the same beginning.
      disk.machine.confState = state
      members.append(try TestMember(configuration: configuration, disk: disk, seed: number))
    }
  }

  private func position(_ number: UInt64) throws -> Int {
    guard number >= 1, number <= members.count else { throw Misuse(text: "no member \(number)") }
    return Int(number) - 1
  }

  private mutating func runOnMember(_ command: Command) throws {
    let at = try position(try command.number(0))
    switch command.name {
    case "ready": takeReady(at)
    case "persist": persist(at, count: Int(command.options["count"] ?? "") ?? .max)
    case "deliver": deliver(at, from: command.list("from"))
    case "drop": drop(at, from: command.list("from"))
    case "status": output.append(Describe.status(members[at].node))
    case "progress": output += members[at].node.progress.map { Describe.progress($0) }
    case "log": printLog(at)
    case "propose": try propose(at, command)
    case "propose-conf": try proposeChange(at, command)
    case "read":
      do { try members[at].node.requestReadIndex(try command.number(1)) } catch {
        output.append("error: \(error)")
      }
    case "compact":
      members[at].flushMachine()
      members[at].compact(through: LogIndex(try command.number(1)))
    case "crash":
      members[at].crash()
    case "restart":
      restarts += 1
      try members[at].restart(seed: 100 + restarts)
    default:
      try runOnNode(command, at)
    }
  }

  private mutating func runOnNode(_ command: Command, _ at: Int) throws {
    switch command.name {
    case "campaign": members[at].node.campaign()
    case "step-down": members[at].node.stepDown()
    case "tick": for _ in 0..<(try command.number(1)) { members[at].node.tick() }
    case "transfer": members[at].node.transferLeadership(to: MemberID(try command.number(1)))
    case "unreachable": members[at].node.reportUnreachable(MemberID(try command.number(1)))
    default: throw Misuse(text: "unknown command \(command.name)")
    }
  }

  private mutating func printLog(_ at: Int) {
    let member = members[at]
    let first = member.node.firstIndex
    if first > LogIndex(1) {
      output.append("compacted \(member.node.term(at: first - 1) ?? .zero)/\(first - 1)")
    }
    output += member.node.entries.map { Describe.entry($0) }
  }

  private mutating func propose(_ at: Int, _ command: Command) throws {
    let payloads = command.arguments.dropFirst().map { SharedBytes(Array($0.utf8)) }
    do {
      let index = try members[at].node.propose(Array(payloads))
      output.append(index.map { "index \($0)" } ?? "forwarded")
    } catch { output.append("error: \(error)") }
  }

  private mutating func proposeChange(_ at: Int, _ command: Command) throws {
    var change = ConfChange(changes: [])
    for word in command.arguments.dropFirst() {
      let member = MemberID(UInt64(word.dropFirst()) ?? 0)
      switch word {
      case "implicit": change.transition = .jointImplicit
      case "explicit": change.transition = .jointExplicit
      case "leave": change = .leaveJoint
      case _ where word.hasPrefix("v"): change.changes.append(.init(.addVoter, member))
      case _ where word.hasPrefix("l"): change.changes.append(.init(.addLearner, member))
      case _ where word.hasPrefix("r"): change.changes.append(.init(.removeNode, member))
      default: throw Misuse(text: "unknown change \(word)")
      }
    }
    do {
      let index = try members[at].node.propose(change)
      output.append(index.map { "index \($0)" } ?? "forwarded")
    } catch { output.append("error: \(error)") }
  }
}

// Work and messages
extension Script {
  private mutating func takeReady(_ at: Int) {
    var states: [String] = []
    let before = members[at].node.confState
    let (ready, sent) = members[at].takeReady()
    if members[at].node.confState != before {
      states.append("now \(Describe.confState(members[at].node.confState))")
    }
    network += sent
    let lines = Describe.ready(ready) + states
    output += lines.isEmpty ? ["nothing"] : lines
  }

  private mutating func persist(_ at: Int, count: Int) {
    network += members[at].persist(count)
  }

  private mutating func takeMessages(to at: Int, from: [MemberID]?) -> [Envelope] {
    func isMeant(_ envelope: Envelope) -> Bool {
      envelope.message.to == members[at].node.id
        && (from.map { $0.contains(envelope.message.from) } ?? true)
    }
    let taken = network.filter { isMeant($0) }
    network.removeAll { isMeant($0) }
    return taken
  }

  private mutating func deliver(_ at: Int, from: [MemberID]?) {
    for envelope in takeMessages(to: at, from: from) where members[at].isRunning {
      output.append(Describe.message(envelope.message))
      do { try members[at].receive(envelope) } catch { output.append("  error: \(error)") }
      reportSnapshot(envelope, success: true)
    }
  }

  private mutating func drop(_ at: Int, from: [MemberID]?) {
    for envelope in takeMessages(to: at, from: from) {
      output.append("dropped \(Describe.message(envelope.message))")
      reportSnapshot(envelope, success: false)
    }
  }

  private mutating func reportSnapshot(_ envelope: Envelope, success: Bool) {
    guard envelope.message.kind == .snapshot,
      let sender = try? position(envelope.message.from.rawValue)
    else { return }
    members[sender].node.reportSnapshot(envelope.message.to, success: success)
  }

  /// Goes round the named members, or all, until none has anything to do.
  private mutating func stabilize(_ command: Command) throws {
    let chosen = command.arguments.compactMap { UInt64($0) }
    let positions = try chosen.isEmpty ? Array(members.indices) : chosen.map { try position($0) }
    var isBusy = true
    var rounds = 0
    while isBusy {
      isBusy = false
      rounds += 1
      if rounds > 200 { throw Misuse(text: "stabilize does not end") }
      for at in positions where members[at].isRunning {
        if members[at].node.hasReady {
          isBusy = true
          output.append("\(at + 1) ready:")
          indented { $0.takeReady(at) }
        }
        if !members[at].writing.isEmpty {
          isBusy = true
          persist(at, count: .max)
        }
        if network.contains(where: { $0.message.to == members[at].node.id }) {
          isBusy = true
          output.append("\(at + 1) receives:")
          indented { $0.deliver(at, from: nil) }
        }
      }
    }
    if command.arguments.contains("quiet") { output = [] }
  }

  private mutating func indented(_ body: (inout Script) -> Void) {
    let before = output.count
    body(&self)
    for line in before..<output.count { output[line] = "  " + output[line] }
  }
}
