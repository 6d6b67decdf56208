/// A host and port that a domain names for a service (RFC 2782).
package struct ServiceRecord: Hashable, Sendable {
  package var priority: UInt16
  package var weight: UInt16
  package var port: UInt16
  /// Without the dot at its end.
  package var target: String

  package init(priority: UInt16, weight: UInt16, port: UInt16, target: String) {
    self.priority = priority
    self.weight = weight
    self.port = port
    self.target = target
  }
}

/// Why a name server's answer is of no use; `description` is meant for the operator.
package enum ServiceLookupError: Error, Hashable, CustomStringConvertible {
  case badName(String)
  case noSuchName(String)
  case refused(code: UInt8)
  /// The answer does not fit a datagram.
  case truncated
  case malformed
  case noAnswer(server: String)

  package var description: String {
    switch self {
    case .badName(let name): "\(name.debugDescription) is no domain name"
    case .noSuchName(let name): "there are no SRV records of \(name)"
    case .refused(let code): "the name server answers with error \(code)"
    case .truncated: "the name server's answer is too long for a datagram"
    case .malformed: "the name server's answer cannot be read"
    case .noAnswer(let server): "the name server \(server) does not answer"
    }
  }
}

/// A question for the SRV records of a name, and the reading of its answer (RFC 1035).
package struct ServiceQuestion {
  package let name: String
  package let number: UInt16
  private let labels: [[UInt8]]

  private static let headerBytes = 12
  private static let labelBytesMax = 63
  private static let nameBytesMax = 255
  private static let serviceType: UInt16 = 33
  private static let internetClass: UInt16 = 1
  private static let optionsType: UInt16 = 41
  /// What an answer may have.
  static let answerBytesMax = 4096
  /// A name is followed through no more pointers than this.
  private static let jumpsMax = 32

  /// `number` tells the answer from others.
  package init(name: String, number: UInt16) throws(ServiceLookupError) {
    let labels = name.split(separator: ".").map { Array($0.utf8) }
    let length = labels.reduce(1) { $0 + $1.count + 1 }
    guard !labels.isEmpty, length <= Self.nameBytesMax,
      labels.allSatisfy({ $0.count <= Self.labelBytesMax })
    else { throw .badName(name) }
    self.name = name
    self.number = number
    self.labels = labels
  }

  /// The datagram to send.
  package var datagram: [UInt8] {
    // Recursion desired; one question, and one additional record.
    var bytes: [UInt8] = [UInt8(number >> 8), UInt8(number & 0xff), 1, 0, 0, 1, 0, 0, 0, 0, 0, 1]
    for label in labels {
      bytes.append(UInt8(label.count))
      bytes += label
    }
    bytes.append(0)
    for value in [Self.serviceType, Self.internetClass] {
      bytes += [UInt8(value >> 8), UInt8(value & 0xff)]
    }
    // Without the size that is taken, servers cut their answers at 512 bytes (RFC 6891).
    bytes.append(0)
    for value in [Self.optionsType, UInt16(Self.answerBytesMax), 0, 0, 0] {
      bytes += [UInt8(value >> 8), UInt8(value & 0xff)]
    }
    return bytes
  }

  /// Reads an answer. Returns nil when it is that to another question.
  package func records(in answer: [UInt8]) throws(ServiceLookupError) -> [ServiceRecord]? {
    var place = 0
    func number(at place: Int) throws(ServiceLookupError) -> UInt16 {
      guard place >= 0, place + 2 <= answer.count else { throw .malformed }
      return UInt16(answer[place]) << 8 | UInt16(answer[place + 1])
    }
    guard answer.count >= Self.headerBytes else { throw .malformed }
    let flags = try number(at: 2)
    guard try number(at: 0) == self.number, flags & 0x8000 != 0 else { return nil }
    if flags & 0x0200 != 0 { throw .truncated }
    switch flags & 0xf {
    case 0: break
    case 3: throw .noSuchName(name)
    default: throw .refused(code: UInt8(flags & 0xf))
    }
    let questions = try number(at: 4)
    let answers = try number(at: 6)
    place = Self.headerBytes
    for _ in 0..<questions {
      _ = try Self.name(in: answer, at: &place)
      place += 4
    }
    var records: [ServiceRecord] = []
    for _ in 0..<answers {
      _ = try Self.name(in: answer, at: &place)
      let type = try number(at: place)
      let length = Int(try number(at: place + 8))
      place += 10
      let end = place + length
      guard end <= answer.count else { throw .malformed }
      if type == Self.serviceType {
        guard length > 6 else { throw .malformed }
        var target = place + 6
        records.append(
          ServiceRecord(
            priority: try number(at: place),
            weight: try number(at: place + 2),
            port: try number(at: place + 4),
            target: try Self.name(in: answer, at: &target)
          )
        )
      }
      place = end
    }
    guard !records.isEmpty else { throw .noSuchName(name) }
    return records
  }

  /// Reads a name and moves behind it.
  private static func name(
    in bytes: [UInt8],
    at place: inout Int
  ) throws(ServiceLookupError) -> String {
    var labels: [String] = []
    var position = place
    var end: Int?
    var jumps = 0
    var length = 0
    while true {
      guard position < bytes.count else { throw .malformed }
      let count = Int(bytes[position])
      position += 1
      if count == 0 { break }
      if count & 0xc0 == 0xc0 {
        guard position < bytes.count, jumps < jumpsMax else { throw .malformed }
        if end == nil { end = position + 1 }
        position = (count & 0x3f) << 8 | Int(bytes[position])
        jumps += 1
        continue
      }
      length += count + 1
      guard count <= labelBytesMax, position + count <= bytes.count, length <= nameBytesMax
      else { throw .malformed }
      labels.append(String(decoding: bytes[position..<position + count], as: UTF8.self))
      position += count
    }
    place = end ?? position
    return labels.joined(separator: ".")
  }
}
