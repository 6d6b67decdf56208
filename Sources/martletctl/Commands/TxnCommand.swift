import Proto

/// `txn`: conditions and requests, line by line.
enum TxnCommand {
  static let all = [
    Command(
      path: ["txn"],
      usage: "[options]",
      summary: "reads a transaction from the standard input and carries it out",
      flags: [Flag("interactive", short: "i", .bool, "", "say what is expected")],
      formats: .withoutTable,
      run: run
    )
  ]

  private static func run(_ invocation: Invocation) async throws {
    guard invocation.arguments.isEmpty else {
      throw Failure.badArguments("txn command does not accept argument")
    }
    let request = try read(invocation)
    try await invocation.withConnection { connection in
      invocation.printer.txn(try await connection.txn(request))
    }
  }

  private static func read(_ invocation: Invocation) throws -> Etcdserverpb.TxnRequest {
    let isInteractive = invocation.flags.bool("interactive")
    var input = InputLines()
    func paragraph<Value>(_ prompt: String, _ parse: (String) throws -> Value) throws -> [Value] {
      if isInteractive { Streams.print(prompt) }
      var values: [Value] = []
      while true {
        guard let line = try input.next(), line.isWhole else {
          throw Failure(.invalidInput, "EOF")
        }
        let text = TxnText.trimmed(RawText.text(line.text))
        if text.isEmpty { return values }
        values.append(try parse(text))
      }
    }
    var request = Etcdserverpb.TxnRequest()
    request.compare = try paragraph("compares:") { try TxnText.compare($0) }
    request.success = try paragraph("success requests (get, put, del):") {
      try TxnText.operation($0, invocation)
    }
    request.failure = try paragraph("failure requests (get, put, del):") {
      try TxnText.operation($0, invocation)
    }
    return request
  }
}
