import Flags
import Proto
import Terminal

// Results about members and their endpoints.
extension Printer {
  func members(_ response: Etcdserverpb.MemberListResponse) {
    let rows = response.members.map { member in
      [
        String(member.id, radix: 16), member.name.isEmpty ? "unstarted" : "started", member.name,
        member.peerURLs.joined(separator: ","), member.clientURLs.joined(separator: ","),
        "\(member.isLearner)",
      ]
    }
    switch format {
    case .table:
      let headings = ["ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER"]
      print(TextTable(headings: headings, rows: rows).text())
    case .json where isHex: json(Self.hexMembers(response))
    case .json, .protobuf, .fields, .simple:
      message(response) {
        $0.members(response)
      } simple: {
        for row in rows { print(row.joined(separator: ", ")) }
      }
    }
  }

  /// JSON cannot hold IDs of 64 bits in most languages' numbers. The spelling of `clientURLS` is
  /// etcdctl's, for this form alone; it does not say who is a learner.
  private static func hexMembers(_ response: Etcdserverpb.MemberListResponse) -> JSONValue {
    func hex(_ id: UInt64) -> JSONValue { .string(String(id, radix: 16)) }
    let header = response.header ?? Etcdserverpb.ResponseHeader()
    func list(_ urls: [String]) -> JSONValue {
      urls.isEmpty ? .null : .array(urls.map { .string($0) })
    }
    let members = response.members.map { member in
      JSONValue.object(
        [
          ("ID", hex(member.id)), ("name", .string(member.name)),
          ("peerURLs", list(member.peerURLs)), ("clientURLS", list(member.clientURLs)),
        ] + (member.isLearner ? [("isLearner", .bool(true))] : [])
      )
    }
    return .object([
      (
        "header",
        .object([
          ("cluster_id", hex(header.clusterID)), ("member_id", hex(header.memberID)),
          ("raft_term", .integer(header.raftTerm)),
        ])
      ), ("members", .array(members)),
    ])
  }

  /// What one endpoint answered.
  struct At<Response: Sendable>: Sendable {
    var endpoint: String
    var response: Response
  }

  func statuses(_ results: [At<Etcdserverpb.StatusResponse>]) {
    switch format {
    case .json: json(Self.list(results.map { ($0.endpoint, $0.response) }, "Status"))
    case .fields: FieldsText.print { text in for result in results { text.status(result) } }
    case .table:
      let headings = [
        "ENDPOINT", "ID", "VERSION", "DB SIZE", "IS LEADER", "IS LEARNER", "RAFT TERM",
        "RAFT INDEX", "RAFT APPLIED INDEX", "ERRORS",
      ]
      print(TextTable(headings: headings, rows: results.map(Self.row)).text())
    case .simple, .protobuf: for row in results.map(Self.row) { print(row.joined(separator: ", ")) }
    }
  }

  private static func row(_ result: At<Etcdserverpb.StatusResponse>) -> [String] {
    let status = result.response
    let member = status.header?.memberID ?? 0
    return [
      result.endpoint, String(member, radix: 16), status.version,
      ByteCount.text(max(0, status.dbSize)), "\(status.leader == member)",
      "\(status.isLearner)", "\(status.raftTerm)", "\(status.raftIndex)",
      "\(status.raftAppliedIndex)", status.errors.joined(separator: ", "),
    ]
  }

  private static func list(_ results: [(String, any Message)], _ name: String) -> JSONValue {
    .array(results.map { .object([("Endpoint", .string($0.0)), (name, .message($0.1))]) })
  }

  func hashes(_ results: [At<Etcdserverpb.HashKVResponse>]) {
    let rows = results.map { [$0.endpoint, "\($0.response.hash)"] }
    switch format {
    case .json: json(Self.list(results.map { ($0.endpoint, $0.response) }, "HashKV"))
    case .fields:
      FieldsText.print { text in
        for result in results {
          text.header(result.response.header)
          text.add("Endpoint", quoted: result.endpoint)
          text.add("Hash", result.response.hash)
          text.blank()
        }
      }
    case .table: print(TextTable(headings: ["ENDPOINT", "HASH"], rows: rows).text())
    case .simple, .protobuf: for row in rows { print(row.joined(separator: ", ")) }
    }
  }

  /// How an endpoint did.
  struct Health: Sendable {
    var endpoint: String
    var took: Duration
    /// Why it is not healthy; empty when it is.
    var error = ""
    var isHealthy: Bool { error.isEmpty }
  }

  func health(_ results: [Health]) {
    switch format {
    case .json:
      json(
        .array(
          results.map { result in
            .object(
              [
                ("endpoint", .string(result.endpoint)), ("health", .bool(result.isHealthy)),
                ("took", .string(GoDuration.text(result.took))),
              ] + (result.isHealthy ? [] : [("error", .string(result.error))])
            )
          }
        )
      )
    case .fields:
      FieldsText.print { text in
        for result in results {
          text.add("Endpoint", quoted: result.endpoint)
          text.add("Health", result.isHealthy)
          text.add("Took", GoDuration.text(result.took))
          text.add("Error", result.error)
          text.blank()
        }
      }
    case .table:
      let rows = results.map {
        [$0.endpoint, "\($0.isHealthy)", GoDuration.text($0.took), $0.error]
      }
      print(TextTable(headings: ["ENDPOINT", "HEALTH", "TOOK", "ERROR"], rows: rows).text())
    case .simple, .protobuf:
      for result in results {
        if result.isHealthy {
          let took = GoDuration.text(result.took)
          print("\(result.endpoint) is healthy: successfully committed proposal: took = \(took)")
        } else {
          Streams.warn(
            "\(result.endpoint) is unhealthy: failed to commit proposal: \(result.error)"
          )
        }
      }
    }
  }
}

extension FieldsText {
  mutating func members(_ response: Etcdserverpb.MemberListResponse) {
    header(response.header)
    for member in response.members {
      add("ID", member.id)
      add("Name", quoted: member.name)
      for url in member.peerURLs { add("PeerURL", quoted: url) }
      for url in member.clientURLs { add("ClientURL", quoted: url) }
      add("IsLearner", member.isLearner)
      blank()
    }
  }

  mutating func status(_ result: Printer.At<Etcdserverpb.StatusResponse>) {
    let status = result.response
    header(status.header)
    add("Version", quoted: status.version)
    add("DBSize", status.dbSize)
    add("Leader", status.leader)
    add("IsLearner", status.isLearner)
    add("RaftIndex", status.raftIndex)
    add("RaftTerm", status.raftTerm)
    add("RaftAppliedIndex", status.raftAppliedIndex)
    let errors = status.errors.map(GoText.quoted).joined(separator: " ")
    add("Errors", "[\(errors)]")
    add("Endpoint", quoted: result.endpoint)
    blank()
  }
}
