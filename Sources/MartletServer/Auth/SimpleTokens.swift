import Auth
import Synchronization

/// The tokens of `--auth-token simple`: names for users, chosen at random, that live on while they
/// are used.
///
/// A lone member keeps those that it gives to itself; in a cluster of several they go through the
/// log, so that every member knows them (`know`). Each counts their time by their use at itself, and
/// forgets them when it stops.
///
/// A token is void when its time is over, and when the state says so: `AuthState.honours`. Any thread.
final class SimpleTokens: Sendable {
  static let letterCount = 16
  /// A member holds this many; beyond, those whose time is over soonest make room.
  static let tokensMax = 100_000

  /// A token's letters as two numbers, and the number behind the dot.
  struct Name: Hashable {
    fileprivate var letters: (high: UInt64, low: UInt64)
    fileprivate var number: UInt64

    static func == (left: Self, right: Self) -> Bool {
      left.letters == right.letters && left.number == right.number
    }

    func hash(into hasher: inout Hasher) {
      hasher.combine(letters.high)
      hasher.combine(letters.low)
      hasher.combine(number)
    }
  }

  private struct Token {
    var user: AuthName
    var credentialRevision: UInt64
    var givenAt: UInt64
    var deadline: MonotonicTime
  }

  private struct Table {
    var tokens: [Name: Token] = [:]
    var lastNumber: UInt64 = 0
    var nextSweep = MonotonicTime(nanoseconds: 0)
  }

  private let table = Mutex(Table())
  private let ttlNanoseconds: UInt64
  private let tokensMax: Int

  init(ttlNanoseconds: UInt64, tokensMax: Int = SimpleTokens.tokensMax) {
    self.ttlNanoseconds = ttlNanoseconds
    self.tokensMax = tokensMax
  }

  var count: Int { table.withLock { $0.tokens.count } }

  /// A new token for a user whose password was found right in `state`.
  func assign(_ user: AuthUser, in state: AuthState, now: MonotonicTime = .now) -> String {
    let letters = Self.makeLetters()
    return table.withLock { table in
      table.lastNumber += 1
      let text = "\(letters).\(table.lastNumber)"
      add(text, user, givenAt: state.revision, to: &table, now)
      return text
    }
  }

  /// Takes in a token that went through the log.
  func know(
    _ text: String,
    of user: AuthUser,
    givenAt revision: UInt64,
    now: MonotonicTime = .now
  ) {
    table.withLock { table in add(text, user, givenAt: revision, to: &table, now) }
  }

  private func add(
    _ text: String,
    _ user: AuthUser,
    givenAt revision: UInt64,
    to table: inout Table,
    _ now: MonotonicTime
  ) {
    guard let name = Array(text.utf8).withUnsafeBytes({ Self.parse($0) }) else { return }
    makeRoom(&table, now)
    table.tokens[name] = Token(
      user: user.name,
      credentialRevision: user.credentialRevision,
      givenAt: revision,
      deadline: now.advanced(byNanoseconds: ttlNanoseconds)
    )
  }

  /// The random part of a token: 26 letters and as many capitals, as etcd's tokens have.
  static func makeLetters() -> String {
    var generator = SystemRandomNumberGenerator()
    let letters = (0..<letterCount).map { _ in
      alphabet[Int.random(in: 0..<alphabet.count, using: &generator)]
    }
    return String(decoding: letters, as: UTF8.self)
  }

  private static let alphabet = Array("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".utf8)

  /// The user of a token, whose time starts anew; nil when it is not valid.
  func user(
    of text: UnsafeRawBufferPointer,
    in state: AuthState,
    now: MonotonicTime = .now
  ) -> AuthName? {
    guard let name = Self.parse(text) else { return nil }
    return table.withLock { table in
      guard let token = table.tokens[name] else { return nil }
      let isGood =
        now < token.deadline
        && state.honours(
          token.user,
          credentialRevision: token.credentialRevision,
          givenAt: token.givenAt
        )
      if isGood {
        table.tokens[name]?.deadline = now.advanced(byNanoseconds: ttlNanoseconds)
        return token.user
      }
      table.tokens[name] = nil
      return nil
    }
  }

  /// Drops what is over, once in a while or when the table is full.
  private func makeRoom(_ table: inout Table, _ now: MonotonicTime) {
    let isFull = table.tokens.count >= tokensMax
    guard isFull || now >= table.nextSweep else { return }
    table.nextSweep = now.advanced(byNanoseconds: ttlNanoseconds)
    table.tokens = table.tokens.filter { now < $0.value.deadline }
    guard table.tokens.count >= tokensMax else { return }
    // A tenth at a time, so that a full table is not sorted for every token.
    let oldest = table.tokens.sorted { $0.value.deadline < $1.value.deadline }
    for (name, _) in oldest.prefix(max(1, tokensMax / 10)) { table.tokens[name] = nil }
  }

  /// Reads a token without a copy of it; nil when it is not of the right shape.
  private static func parse(_ text: UnsafeRawBufferPointer) -> Name? {
    // Twenty digits hold every 64-bit number.
    guard text.count > letterCount + 1, text.count <= letterCount + 21,
      text[letterCount] == UInt8(ascii: ".")
    else { return nil }
    var number: UInt64 = 0
    for digit in text[(letterCount + 1)...] {
      guard digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "9") else { return nil }
      let (product, overflows) = number.multipliedReportingOverflow(by: 10)
      let (sum, overflowsToo) = product.addingReportingOverflow(UInt64(digit - UInt8(ascii: "0")))
      if overflows || overflowsToo { return nil }
      number = sum
    }
    return Name(
      letters: (
        text.loadUnaligned(fromByteOffset: 0, as: UInt64.self),
        text.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
      ),
      number: number
    )
  }
}
