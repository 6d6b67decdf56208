import Auth

/// SplitMix64, so that a printed seed gives the same run everywhere.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var value = state
    value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
    value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
    return value ^ value >> 31
  }

  mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &self) }
  mutating func chance(_ percent: Int) -> Bool { below(100) < percent }
  mutating func pick<Element>(_ list: [Element]) -> Element { list[below(list.count)] }
}

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

/// The error that `body` throws, nil when it throws none.
func failure(_ body: () throws(AuthError) -> Void) -> AuthError? {
  do throws(AuthError) {
    try body()
    return nil
  } catch {
    return error
  }
}

extension AuthState {
  /// A state with authentication on and nobody but root.
  static func enabled() throws -> AuthState {
    var state = AuthState()
    try state.addUser(root, passwordHash: bytes("hash"), hasNoPassword: false)
    try state.grantRole(root, to: root)
    try state.enable()
    return state
  }

  mutating func add(user: String, roles: [String] = []) throws {
    try addUser(bytes(user), passwordHash: bytes("hash of \(user)"), hasNoPassword: false)
    for role in roles { try grantRole(bytes(role), to: bytes(user)) }
  }

  mutating func add(role: String, _ permissions: [Permission] = []) throws {
    try addRole(bytes(role))
    for permission in permissions { try grant(permission, to: bytes(role)) }
  }
}

extension Permission {
  init(_ kind: Kind, _ key: String, _ end: String = "") {
    self.init(kind, key: bytes(key), rangeEnd: bytes(end))
  }
}
