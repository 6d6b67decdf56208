/// What a leader knows of the numbers of the messages that one life of one member sent in its term.
package struct SeenNumbers {
  /// What a number says of the message that bears it.
  package enum Arrival: Equatable {
    case new
    /// It came before, or may have.
    case repeated
    /// It came before and was refused.
    case refused(RequestError)
  }

  let life: UInt64
  private var highest: UInt64 = 0
  private var words = [UInt64](repeating: 0, count: Int(SeenNumbers.span) / 64)
  private var refusals: [UInt64: RequestError] = [:]

  /// Messages that come later than so many others are taken for repeated ones.
  package static let span: UInt64 = 1 << 16
  /// Refusals that are remembered; beyond, only those of the newest numbers.
  private static let refusalsMax = 4096

  package init(life: UInt64) {
    self.life = life
  }

  /// Notes a message of that number.
  package mutating func insert(_ number: UInt64) -> Arrival {
    if number > highest {
      if number - highest >= Self.span {
        for index in words.indices { words[index] = 0 }
      } else {
        for skipped in highest + 1...number { clear(skipped) }
      }
      highest = number
    } else if highest - number >= Self.span {
      return .repeated
    }
    let (word, bit) = Self.place(of: number)
    if words[word] & bit != 0 { return refusals[number].map { .refused($0) } ?? .repeated }
    words[word] |= bit
    return .new
  }

  /// Notes that what the message of a number asks for is in no log.
  package mutating func noteRefused(_ number: UInt64, _ error: RequestError) {
    if refusals.count >= Self.refusalsMax {
      refusals = refusals.filter { highest - $0.key < UInt64(Self.refusalsMax / 2) }
    }
    refusals[number] = error
  }

  private mutating func clear(_ number: UInt64) {
    let (word, bit) = Self.place(of: number)
    words[word] &= ~bit
  }

  private static func place(of number: UInt64) -> (word: Int, bit: UInt64) {
    (Int(number % span) / 64, 1 << (number % 64))
  }
}

/// The numbers of the messages that one member sent in a term: of its last few lives.
struct SeenLives {
  private var lives: [SeenNumbers] = []

  /// How many starts of one member are told apart.
  private static let livesMax = 4

  mutating func insert(_ number: UInt64, life: UInt64) -> SeenNumbers.Arrival {
    if let known = lives.firstIndex(where: { $0.life == life }) {
      return lives[known].insert(number)
    }
    if lives.count == Self.livesMax { lives.removeFirst() }
    lives.append(SeenNumbers(life: life))
    return lives[lives.count - 1].insert(number)
  }

  mutating func noteRefused(_ number: UInt64, life: UInt64, _ error: RequestError) {
    guard let known = lives.firstIndex(where: { $0.life == life }) else { return }
    lives[known].noteRefused(number, error)
  }
}
