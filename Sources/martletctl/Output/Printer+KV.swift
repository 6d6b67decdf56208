import Proto

// Results of keys, transactions and watches.
extension Printer {
  func get(_ response: Etcdserverpb.RangeResponse) {
    message(response) {
      $0.range(response)
    } simple: {
      for pair in response.kvs { self.pair(pair) }
    }
  }

  func put(_ response: Etcdserverpb.PutResponse) {
    message(response) {
      $0.put(response)
    } simple: {
      print("OK")
      if let previous = response.prevKV { pair(previous) }
    }
  }

  func delete(_ response: Etcdserverpb.DeleteRangeResponse) {
    message(response) {
      $0.delete(response)
    } simple: {
      print("\(response.deleted)")
      for pair in response.prevKVs { self.pair(pair) }
    }
  }

  func txn(_ response: Etcdserverpb.TxnResponse) {
    message(response) {
      $0.txn(response)
    } simple: {
      simpleTxn(response)
    }
  }

  private func simpleTxn(_ response: Etcdserverpb.TxnResponse) {
    print(response.succeeded ? "SUCCESS" : "FAILURE")
    for operation in response.responses {
      print("")
      switch operation.response {
      case .responseRange(let range): get(range)
      case .responsePut(let put): self.put(put)
      case .responseDeleteRange(let deletion): delete(deletion)
      case .responseTxn(let txn): simpleTxn(txn)
      case nil: print("unexpected response \"nil\"")
      }
    }
  }

  /// What `watch` prints of a response.
  struct WatchResult {
    var header: Etcdserverpb.ResponseHeader
    var events: [Mvccpb.Event]
    var compactRevision: Int64 = 0
    var isCanceled = false
  }

  func watch(_ result: WatchResult) {
    switch format {
    case .json:
      json(
        .object([
          ("Header", .message(result.header)),
          ("Events", .array(result.events.map { .message($0) })),
          ("CompactRevision", .integer(result.compactRevision)),
          ("Canceled", .bool(result.isCanceled)), ("Created", .bool(false)),
        ])
      )
    case .protobuf:
      var response = Etcdserverpb.WatchResponse()
      response.header = result.header
      response.canceled = result.isCanceled
      response.compactRevision = result.compactRevision
      response.events = result.events
      protobuf(response)
    case .fields: FieldsText.print { $0.watch(result) }
    case .simple, .table: for event in result.events { self.event(event) }
    }
  }

  private func event(_ event: Mvccpb.Event) {
    let name = event.type.description
    let isColoured = Streams.usesColour
    print(isColoured ? "\u{1b}[\(event.type == .put ? 32 : 31)m\(name)\u{1b}[0m" : name)
    if let previous = event.prevKV { pair(previous) }
    pair(event.kv ?? Mvccpb.KeyValue())
  }
}

extension FieldsText {
  mutating func range(_ response: Etcdserverpb.RangeResponse) {
    header(response.header)
    for pair in response.kvs { self.pair(pair) }
    add("More", response.more)
    add("Count", response.count)
  }

  mutating func put(_ response: Etcdserverpb.PutResponse) {
    header(response.header)
    if let previous = response.prevKV { pair(previous, "Prev") }
  }

  mutating func delete(_ response: Etcdserverpb.DeleteRangeResponse) {
    header(response.header)
    add("Deleted", response.deleted)
    for pair in response.prevKVs { self.pair(pair, "Prev") }
  }

  mutating func txn(_ response: Etcdserverpb.TxnResponse) {
    header(response.header)
    add("Succeeded", response.succeeded)
    for operation in response.responses {
      switch operation.response {
      case .responseRange(let range): self.range(range)
      case .responsePut(let put): self.put(put)
      case .responseDeleteRange(let deletion): delete(deletion)
      case .responseTxn(let inner): txn(inner)
      case nil: add("Unknown", quoted: "nil")
      }
    }
  }

  mutating func watch(_ result: Printer.WatchResult) {
    header(result.header)
    for event in result.events {
      add("Type", event.type.description)
      if let previous = event.prevKV { pair(previous, "Prev") }
      pair(event.kv ?? Mvccpb.KeyValue())
    }
  }
}
