import Proto

// Leases.
extension Printer {
  /// The fields of a header among others, as Go prints an embedded struct.
  private func embedded(
    _ header: Etcdserverpb.ResponseHeader?
  ) -> [(name: String, value: JSONValue)] {
    guard let header else { return [] }
    var fields: [(name: String, value: JSONValue)] = []
    if header.clusterID != 0 { fields.append(("cluster_id", .integer(header.clusterID))) }
    if header.memberID != 0 { fields.append(("member_id", .integer(header.memberID))) }
    if header.revision != 0 { fields.append(("revision", .integer(header.revision))) }
    if header.raftTerm != 0 { fields.append(("raft_term", .integer(header.raftTerm))) }
    return fields
  }

  func grant(_ response: Etcdserverpb.LeaseGrantResponse) {
    if format == .json {
      let own: [(name: String, value: JSONValue)] = [
        ("ID", .integer(response.id)), ("TTL", .integer(response.ttl)),
        ("Error", .string(response.error)),
      ]
      return json(.object(embedded(response.header) + own))
    }
    message(response) {
      $0.header(response.header)
      $0.add("ID", response.id)
      $0.add("TTL", response.ttl)
    } simple: {
      let id = GoText.hex16(UInt64(bitPattern: response.id))
      print("lease \(id) granted with TTL(\(response.ttl)s)")
    }
  }

  func timeToLive(_ response: Etcdserverpb.LeaseTimeToLiveResponse, showsKeys: Bool) {
    if format == .json {
      let keys = response.keys.map { JSONValue.bytes($0) }
      let own: [(name: String, value: JSONValue)] = [
        ("id", .integer(response.id)), ("ttl", .integer(response.ttl)),
        ("granted-ttl", .integer(response.grantedTTL)),
        ("keys", keys.isEmpty ? .null : .array(keys)),
      ]
      return json(.object(embedded(response.header) + own))
    }
    message(response) {
      $0.header(response.header)
      $0.add("ID", response.id)
      $0.add("TTL", response.ttl)
      $0.add("GrantedTTL", response.grantedTTL)
      for key in response.keys { $0.add("Key", quoted: key) }
    } simple: {
      let id = GoText.hex16(UInt64(bitPattern: response.id))
      guard response.grantedTTL != 0 || response.ttl != -1 else {
        return print("lease \(id) already expired")
      }
      var text = Array(
        "lease \(id) granted with TTL(\(response.grantedTTL)s), remaining(\(response.ttl)s)".utf8
      )
      if showsKeys {
        text +=
          ", attached keys([".utf8 + Array(response.keys.joined(separator: [0x20])) + "])".utf8
      }
      Streams.write(text + [UInt8(ascii: "\n")])
    }
  }

  func leases(_ response: Etcdserverpb.LeaseLeasesResponse) {
    if format == .json {
      let leases = response.leases.map { JSONValue.object([("id", .integer($0.id))]) }
      return json(.object(embedded(response.header) + [("leases", .array(leases))]))
    }
    message(response) {
      $0.header(response.header)
      for lease in response.leases { $0.add("ID", lease.id) }
    } simple: {
      print("found \(response.leases.count) leases")
      for lease in response.leases { print(GoText.hex16(UInt64(bitPattern: lease.id))) }
    }
  }

  func keepAlive(_ response: Etcdserverpb.LeaseKeepAliveResponse) {
    if format == .json {
      let own: [(name: String, value: JSONValue)] = [
        ("ID", .integer(response.id)), ("TTL", .integer(response.ttl)),
      ]
      return json(.object(embedded(response.header) + own))
    }
    message(response) {
      $0.header(response.header)
      $0.add("ID", response.id)
      $0.add("TTL", response.ttl)
    } simple: {
      let id = GoText.hex16(UInt64(bitPattern: response.id))
      print("lease \(id) keepalived with TTL(\(response.ttl))")
    }
  }
}
