import Auth
import Testing

@Suite("Key ranges")
struct KeyRangesTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var permissions: [(String, String)]
    var request: (String, String)
    var isCovered: Bool
    var testDescription: String { "\(permissions) \(request)" }

    init(_ permissions: [(String, String)], _ request: (String, String), _ isCovered: Bool) {
      self.permissions = permissions
      self.request = request
      self.isCovered = isCovered
    }
  }

  static let cases = [
    Case([], ("a", ""), false),
    Case([("a", "")], ("a", ""), true),
    Case([("a", "")], ("a", "b"), false),
    Case([("a", "")], ("a", "a\0"), true),
    Case([("a", "")], ("a\0", ""), false),
    Case([("a", "b")], ("a", "b"), true),
    Case([("a", "b")], ("aa", "az"), true),
    Case([("a", "b")], ("b", ""), false),
    Case([("a", "b")], ("a", "c"), false),
    Case([("a", "b"), ("b", "c")], ("a", "c"), true),
    Case([("a", "b"), ("b\0", "c")], ("a", "c"), false),
    Case([("a", "b"), ("b", ""), ("b\0", "c")], ("a", "c"), true),
    Case([("a", "d"), ("b", "c")], ("c", "d"), true),
    Case([("a", "b")], ("a", "\0"), false),
    Case([("a", "\0")], ("b", "\0"), true),
    Case([("a", "\0")], ("\0", "\0"), false),
    Case([("\0", "\0")], ("\0", "\0"), true),
    Case([("a", "\0"), ("b", "c")], ("z", ""), true),
    Case([("a", "c"), ("b", "\0")], ("a", "\0"), true),
    // A range that ends before it starts has no keys: its first counts.
    Case([("b", "c")], ("b", "a"), true),
    Case([("b", "c")], ("x", "a"), false),
  ]

  @Test("covers a request or does not", arguments: cases)
  func covers(_ row: Case) {
    let ranges = KeyRanges(row.permissions.map { Permission(.read, $0, $1) })
    let (key, end) = (bytes(row.request.0), bytes(row.request.1))
    let isCovered = key.withUnsafeBytes { key in
      end.withUnsafeBytes { ranges.cover(key, $0) }
    }
    #expect(isCovered == row.isCovered)
  }
}
