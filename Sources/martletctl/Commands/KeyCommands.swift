import Proto

/// `put`, `del` and `compaction`.
enum KeyCommands {
  static let all = [
    Command(
      path: ["put"],
      usage: "[options] <key> <value> (<value> can also be given from stdin)",
      summary: "sets a key",
      flags: putFlags,
      formats: .withoutTable,
      run: put
    ),
    Command(
      path: ["del"],
      usage: "[options] <key> [range_end]",
      summary: "deletes a key, or the keys of a range",
      flags: deleteFlags,
      formats: .withoutTable,
      run: delete
    ),
    Command(
      path: ["compaction"],
      aliases: ["compact"],
      usage: "[options] <revision>",
      summary: "forgets the history before a revision",
      flags: [Flag("physical", .bool, "", "return only when the space has been taken back")],
      run: compact
    ),
  ]

  static let putFlags = [
    Flag("ignore-lease", .bool, "", "keep the key's lease"),
    Flag("ignore-value", .bool, "", "keep the key's value"),
    Flag("lease", .string, "0", "ID of the lease, in hexadecimal, that the key goes away with"),
    Flag("prev-kv", .bool, "", "print what was there before"),
  ]

  static let deleteFlags = [
    Flag("from-key", .bool, "", "all keys from the given one on"),
    Flag("prefix", .bool, "", "all keys that begin with the given one"),
    Flag("prev-kv", .bool, "", "print what was deleted"),
    Flag("range", .bool, "", "delete a range; stands for itself, since range_end says it too"),
  ]

  /// What a value from the standard input may have; servers take far less.
  static let valueBytesMax = 512 << 20

  static func put(_ invocation: Invocation) async throws {
    let request = try putRequest(invocation, mayReadInput: true)
    try await invocation.withConnection { connection in
      let response = try await connection.put(request)
      invocation.printer.put(response)
    }
  }

  static func putRequest(
    _ invocation: Invocation,
    mayReadInput: Bool
  ) throws -> Etcdserverpb.PutRequest {
    let flags = invocation.flags
    let arguments = invocation.arguments
    let lease = GoText.parseInteger(flags["lease"], radix: 16)
    if let objection = lease.objection {
      throw Failure.badArguments("bad lease ID (\(objection)), expecting ID in Hex")
    }
    let ignoresValue = flags.bool("ignore-value")
    let needs = "put command needs 1 argument and input from stdin or 2 arguments"
    guard !arguments.isEmpty else { throw Failure.badArguments(needs) }
    var request = Etcdserverpb.PutRequest()
    request.key = invocation.bytes(0)
    if ignoresValue {
      guard arguments.count == 1 else {
        throw Failure.badArguments("put command needs only 1 argument when 'ignore-value' is set")
      }
    } else if arguments.count > 1 {
      request.value = invocation.bytes(1)
    } else {
      guard mayReadInput else { throw Failure.badArguments(needs) }
      request.value = try InputLines.all(bytesMax: valueBytesMax)
      if request.value.isEmpty { throw Failure.badArguments(needs) }
    }
    request.lease = lease.value ?? 0
    request.prevKV = flags.bool("prev-kv")
    request.ignoreValue = ignoresValue
    request.ignoreLease = flags.bool("ignore-lease")
    return request
  }

  static func delete(_ invocation: Invocation) async throws {
    let request = try deleteRequest(invocation)
    try await invocation.withConnection { connection in
      invocation.printer.delete(try await connection.deleteRange(request))
    }
  }

  static func deleteRequest(_ invocation: Invocation) throws -> Etcdserverpb.DeleteRangeRequest {
    guard !invocation.arguments.isEmpty, invocation.arguments.count <= 2 else {
      throw Failure.badArguments(
        "del command needs one argument as key and an optional argument as range_end"
      )
    }
    var request = Etcdserverpb.DeleteRangeRequest()
    (request.key, request.rangeEnd) = try KeyEnd.span(invocation, invocation.arguments)
    request.prevKV = invocation.flags.bool("prev-kv")
    return request
  }

  private static func compact(_ invocation: Invocation) async throws {
    guard invocation.arguments.count == 1 else {
      throw Failure.badArguments("compaction command needs 1 argument")
    }
    let revision = GoText.parseInteger(invocation.arguments[0], radix: 10)
    if let objection = revision.objection { throw Failure(.error, objection) }
    var request = Etcdserverpb.CompactionRequest()
    request.revision = revision.value ?? 0
    request.physical = invocation.flags.bool("physical")
    let sent = request
    try await invocation.withConnection { connection in
      let _: Etcdserverpb.CompactionResponse = try await connection.call("KV/Compact", sent)
      invocation.printer.print("compacted revision \(sent.revision)")
    }
  }
}
