import Proto

/// A history that clients of real members wrote down.
///
/// One operation a line, six words with a blank between them: what was asked (`put`, `delete`, `txn`
/// or `range`), when it was asked and when its end was seen (nanoseconds of one clock), the store's
/// revision right after it, the request, and the response (protobuf in hex). What nobody saw is `-`: a
/// request without an answer has neither end nor response, and it has a revision if what it did
/// was seen later, as by a watch.
///
/// Requests are those that the model knows: no limits, sorting, filters, old revisions or
/// serializable reads, no nested txns, and values are compared for equality only.
package struct RecordedHistory {
  /// What is wrong with a line.
  package struct LineFault: Error, CustomStringConvertible {
    package var line: Int
    package var reason: String

    package var description: String { "line \(line): \(reason)" }
  }

  private struct WordFault: Error {
    var reason: String
  }

  private var operations: [TimedOperation<KeyValueOperation>] = []
  private var lines: [Substring] = []

  package var count: Int { operations.count }

  /// Reads a history. Throws what is wrong with the first bad line.
  package init(_ text: String) throws(LineFault) {
    for (number, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated()
    where !line.isEmpty {
      do throws(WordFault) {
        operations.append(try Self.operation(line))
      } catch {
        throw LineFault(line: number + 1, reason: error.reason)
      }
      lines.append(line)
    }
  }

  /// Looks for an order of the operations. `description` of a violation has the line that was stuck.
  package func check(stepsMax: Int) -> (outcome: LinearizabilityOutcome, stuckLine: String?) {
    let outcome = LinearizabilityChecker.check(operations, KeyValueModel(), stepsMax: stepsMax)
    guard case .violated(_, let stuck?) = outcome else { return (outcome, nil) }
    return (outcome, String(lines[stuck]))
  }

  // MARK: Lines

  private static let wordCount = 6

  private static func operation(
    _ line: Substring
  ) throws(WordFault) -> TimedOperation<KeyValueOperation> {
    let words = line.split(separator: " ", omittingEmptySubsequences: false)
    guard words.count == wordCount else {
      throw WordFault(reason: "\(words.count) words, not \(wordCount)")
    }
    guard let call = UInt64(words[1]) else { throw WordFault(reason: "no time: \(words[1])") }
    let end = try number(words[2]) { UInt64($0) } ?? .max
    guard call <= end else { throw WordFault(reason: "it ends before it begins") }
    let response = try words[5] == "-" ? nil : bytes(words[5])
    guard (response == nil) == (end == .max) else {
      throw WordFault(reason: "an end without a response, or a response without an end")
    }
    var operation = KeyValueOperation(
      request: try request(words[0], try bytes(words[4])),
      revision: try number(words[3]) { Int64($0) }
    )
    if let response {
      let seen = try outcome(words[0], response)
      guard operation.revision == seen.revision else {
        throw WordFault(reason: "the response is of revision \(seen.revision)")
      }
      operation.outcome = .message(seen.bytes)
    }
    return TimedOperation(operation, call: call, end: end)
  }

  private static func number<Number>(
    _ word: Substring,
    _ read: (Substring) -> Number?
  ) throws(WordFault) -> Number? {
    if word == "-" { return nil }
    guard let number = read(word) else { throw WordFault(reason: "no number: \(word)") }
    return number
  }

  private static func bytes(_ word: Substring) throws(WordFault) -> [UInt8] {
    let digits = word.utf8.compactMap { Character(UnicodeScalar($0)).hexDigitValue }
    guard digits.count == word.utf8.count, digits.count.isMultiple(of: 2) else {
      throw WordFault(reason: "no bytes in hex: \(word.prefix(40))")
    }
    return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] * 16 + digits[$0 + 1]) }
  }

  // MARK: Requests

  private static func request(
    _ kind: Substring,
    _ bytes: [UInt8]
  ) throws(WordFault) -> KeyValueOperation.Request {
    do throws(DecodeError) {
      switch kind {
      case "put":
        let request = try Etcdserverpb.PutRequest(decoding: bytes)
        if isKnown(request) { return .put(request) }
      case "delete":
        return .deleteRange(try Etcdserverpb.DeleteRangeRequest(decoding: bytes))
      case "txn":
        let request = try Etcdserverpb.TxnRequest(decoding: bytes)
        if isKnown(request) { return .txn(request) }
      case "range":
        let request = try Etcdserverpb.RangeRequest(decoding: bytes)
        if isKnown(request) { return .range(request) }
      default:
        throw DecodeError.malformed
      }
    } catch {
      throw WordFault(reason: "no request of kind \(kind): \(error)")
    }
    throw WordFault(reason: "a \(kind) that the model does not know")
  }

  private static func isKnown(_ request: Etcdserverpb.PutRequest) -> Bool {
    !request.ignoreValue && !request.ignoreLease && request.lease == 0
  }

  /// A range is known by its bounds alone.
  private static func isKnown(_ request: Etcdserverpb.RangeRequest) -> Bool {
    var plain = Etcdserverpb.RangeRequest(key: request.key)
    plain.rangeEnd = request.rangeEnd
    return plain.encoded() == request.encoded()
  }

  private static func isKnown(_ request: Etcdserverpb.TxnRequest) -> Bool {
    request.compare.allSatisfy(isKnown)
      && (request.success + request.failure).allSatisfy { operation in
        switch operation.request {
        case .requestPut(let put): isKnown(put)
        case .requestRange(let range): isKnown(range)
        case .requestDeleteRange: true
        case .requestTxn, nil: false
        }
      }
  }

  private static func isKnown(_ compare: Etcdserverpb.Compare) -> Bool {
    guard compare.rangeEnd.isEmpty else { return false }
    return switch compare.targetUnion {
    case .version, .createRevision, .modRevision: true
    case .value: compare.result == .equal
    default: false
    }
  }

  // MARK: Responses

  /// A response as the model makes them, whose header holds the revision only.
  private static func outcome(
    _ kind: Substring,
    _ bytes: [UInt8]
  ) throws(WordFault) -> (bytes: [UInt8], revision: Int64) {
    func bare(
      _ header: inout Etcdserverpb.ResponseHeader?
    ) -> Int64 {
      let revision = header?.revision ?? 0
      header = Etcdserverpb.ResponseHeader(revision: revision)
      return revision
    }
    do throws(DecodeError) {
      switch kind {
      case "put":
        var response = try Etcdserverpb.PutResponse(decoding: bytes)
        let revision = bare(&response.header)
        return (response.encoded(), revision)
      case "delete":
        var response = try Etcdserverpb.DeleteRangeResponse(decoding: bytes)
        let revision = bare(&response.header)
        return (response.encoded(), revision)
      case "txn":
        var response = try Etcdserverpb.TxnResponse(decoding: bytes)
        let revision = bare(&response.header)
        return (response.encoded(), revision)
      default:
        var response = try Etcdserverpb.RangeResponse(decoding: bytes)
        let revision = bare(&response.header)
        return (response.encoded(), revision)
      }
    } catch {
      throw WordFault(reason: "no response to a \(kind): \(error)")
    }
  }
}
