import Auth
import Base
import Proto
import Testing

/// Random users, roles, grants and requests against a reference that looks at every key by itself.
///
/// The reference knows nothing of ranges or their union: it walks a request as it would be carried
/// out and asks, for each key of a small world, whether one permission of one role of the user
/// covers it. The world holds every border that a permission or a request can have, so what is
/// allowed for all of its keys in a range is allowed for all keys in the range.
@Suite("Permissions against a plain reference")
struct ModelTests {
  static let names = ["a", "aa", "ab", "b", "ba", "bb", "c"]

  /// A key, and what comes right after it: the ends of ranges and of single keys are all here.
  static let world: [[UInt8]] = (["\0"] + names.flatMap { [$0, $0 + "\0"] } + ["zz"])
    .map { bytes($0) }

  struct Reference {
    var state: AuthState
    var user: AuthUser
    var leaseKeys: [Int64: [String]]

    /// The keys of the world that a request names.
    func keys(_ key: [UInt8], _ end: [UInt8]) -> [[UInt8]] {
      let inside = ModelTests.world.filter { candidate in
        if end == [0] { return !candidate.lexicographicallyPrecedes(key) }
        return !candidate.lexicographicallyPrecedes(key) && candidate.lexicographicallyPrecedes(end)
      }
      // One key, or a range that ends before it starts.
      return end.isEmpty || inside.isEmpty ? [key] : inside
    }

    func may(_ write: Bool, _ key: [UInt8]) -> Bool {
      if user.roles.contains(bytes("root")) { return true }
      for name in user.roles {
        for permission in state.role(name)?.permissions ?? [] {
          let kinds: [Permission.Kind] = write ? [.write, .readWrite] : [.read, .readWrite]
          guard kinds.contains(permission.kind) else { continue }
          let end = permission.rangeEnd
          let isIn =
            end.isEmpty
            ? key == permission.key
            : !key.lexicographicallyPrecedes(permission.key)
              && (end == [0] || key.lexicographicallyPrecedes(end))
          if isIn { return true }
        }
      }
      return false
    }

    func mayAll(_ write: Bool, _ key: [UInt8], _ end: [UInt8] = []) -> Bool {
      keys(key, end).allSatisfy { may(write, $0) }
    }

    func may(_ put: Etcdserverpb.PutRequest) -> Bool {
      mayAll(true, put.key) && (!put.prevKV || mayAll(false, put.key))
        && (leaseKeys[put.lease] ?? []).allSatisfy { may(true, bytes($0)) }
    }

    func may(_ delete: Etcdserverpb.DeleteRangeRequest) -> Bool {
      mayAll(true, delete.key, delete.rangeEnd)
        && (!delete.prevKV || mayAll(false, delete.key, delete.rangeEnd))
    }

    func may(_ txn: Etcdserverpb.TxnRequest) -> Bool {
      for compare in txn.compare where !mayAll(false, compare.key, compare.rangeEnd) {
        return false
      }
      return (txn.success + txn.failure).allSatisfy { operation in
        switch operation.request {
        case .requestRange(let range): mayAll(false, range.key, range.rangeEnd)
        case .requestPut(let put): may(put)
        case .requestDeleteRange(let delete): may(delete)
        case .requestTxn(let nested): may(nested)
        case nil: true
        }
      }
    }
  }

  struct Maker {
    var random: SeededGenerator

    mutating func key() -> [UInt8] { bytes(random.pick(ModelTests.names)) }

    mutating func end(of key: [UInt8]) -> [UInt8] {
      if random.chance(40) { return [] }
      if random.chance(15) { return [0] }
      return self.key()
    }

    mutating func permission() -> Permission {
      let key = key()
      return Permission(
        random.pick(Permission.Kind.allCases),
        key: key,
        rangeEnd: end(of: key)
      )
    }

    mutating func put() -> Etcdserverpb.PutRequest {
      var put = Etcdserverpb.PutRequest(key: key())
      put.prevKV = random.chance(30)
      if random.chance(30) { put.lease = Int64(random.below(3)) }
      return put
    }

    mutating func delete() -> Etcdserverpb.DeleteRangeRequest {
      var delete = Etcdserverpb.DeleteRangeRequest(key: key())
      delete.rangeEnd = end(of: delete.key)
      delete.prevKV = random.chance(30)
      return delete
    }

    mutating func range() -> Etcdserverpb.RangeRequest {
      var range = Etcdserverpb.RangeRequest(key: key())
      range.rangeEnd = end(of: range.key)
      return range
    }

    mutating func txn(depth: Int) -> Etcdserverpb.TxnRequest {
      var txn = Etcdserverpb.TxnRequest()
      for _ in 0..<random.below(2) {
        var compare = Etcdserverpb.Compare()
        compare.key = key()
        compare.rangeEnd = end(of: compare.key)
        txn.compare.append(compare)
      }
      txn.success = operations(depth)
      txn.failure = operations(depth)
      return txn
    }

    private mutating func operations(_ depth: Int) -> [Etcdserverpb.RequestOp] {
      (0..<random.below(3)).map { _ in
        var operation = Etcdserverpb.RequestOp()
        switch random.below(depth > 0 ? 4 : 3) {
        case 0: operation.request = .requestRange(range())
        case 1: operation.request = .requestPut(put())
        case 2: operation.request = .requestDeleteRange(delete())
        default: operation.request = .requestTxn(txn(depth: depth - 1))
        }
        return operation
      }
    }
  }

  @Test("no request may do what the reference forbids, nor is one refused that it allows")
  func againstReference() throws {
    let seed = UInt64.random(in: 0 ... .max)
    var allowed = 0
    var refused = 0
    for round in 0..<150 {
      var maker = Maker(random: SeededGenerator(seed: seed &+ UInt64(round)))
      let state = try Self.state(&maker)
      var checker = AccessChecker(state)
      let leaseKeys: [Int64: [String]] = [1: [maker.random.pick(Self.names)], 2: ["a", "bb"]]
      for _ in 0..<40 {
        let user = maker.random.pick(state.users)
        let reference = Reference(state: state, user: user, leaseKeys: leaseKeys)
        let access = try checker.access(of: Caller(name: user.name, revision: state.revision))
        let (isAllowed, expected, request) = try Self.ask(&maker, access, reference)
        #expect(isAllowed == expected, "seed \(seed), round \(round): \(user) \(request)")
        if isAllowed != expected { return }
        if isAllowed { allowed += 1 } else { refused += 1 }
      }
    }
    // A run that only ever refuses would prove nothing.
    #expect(allowed > 200 && refused > 200, "seed \(seed): \(allowed) allowed, \(refused) refused")
  }

  private static func state(_ maker: inout Maker) throws -> AuthState {
    var state = try AuthState.enabled()
    let roles = ["r1", "r2", "r3"]
    for role in roles {
      try state.add(role: role)
      for _ in 0..<maker.random.below(6) { try? state.grant(maker.permission(), to: bytes(role)) }
    }
    for user in ["u1", "u2", "u3"] {
      try state.add(user: user, roles: roles.filter { _ in maker.random.chance(60) })
    }
    // Some of it is taken away again.
    if maker.random.chance(30) { try state.deleteRole(bytes(maker.random.pick(roles))) }
    for role in state.roles where maker.random.chance(30) {
      guard let permission = role.permissions.first else { continue }
      try state.revoke(key: permission.key, rangeEnd: permission.rangeEnd, from: role.name)
    }
    return state
  }

  /// One random request: what the code says, what the reference says, and the request.
  private static func ask(
    _ maker: inout Maker,
    _ access: UserAccess,
    _ reference: Reference
  ) throws -> (isAllowed: Bool, expected: Bool, request: String) {
    let leaseKeys: UserAccess.LeaseKeys = { lease, body in
      (reference.leaseKeys[lease.rawValue] ?? []).allSatisfy { key in
        bytes(key).withUnsafeBytes { body($0) }
      }
    }
    switch maker.random.below(4) {
    case 0:
      let range = maker.range()
      let isAllowed = try view(range) { (view: Etcdserverpb.RangeRequest.View) in
        access.permits(view)
      }
      return (isAllowed, reference.mayAll(false, range.key, range.rangeEnd), "\(range)")
    case 1:
      let put = maker.put()
      let isAllowed = try view(put) { (view: Etcdserverpb.PutRequest.View) in
        access.permits(view, leaseKeys)
      }
      return (isAllowed, reference.may(put), "\(put)")
    case 2:
      let delete = maker.delete()
      let isAllowed = try view(delete) { (view: Etcdserverpb.DeleteRangeRequest.View) in
        access.permits(view)
      }
      return (isAllowed, reference.may(delete), "\(delete)")
    default:
      let txn = maker.txn(depth: 3)
      let isAllowed = try view(txn) { (view: Etcdserverpb.TxnRequest.View) in
        access.permits(view, leaseKeys)
      }
      return (isAllowed, reference.may(txn), "\(txn)")
    }
  }

  private static func view<View: MessageView, Result>(
    _ message: some Message,
    _ body: (View) -> Result
  ) throws -> Result {
    let arena = Arena()
    let encoded = message.encoded()
    return try encoded.withUnsafeBytes { body(try View(decoding: $0, in: arena)) }
  }
}
