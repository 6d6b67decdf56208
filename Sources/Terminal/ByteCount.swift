/// Sizes for people.
package enum ByteCount {
  private static let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"]

  /// In powers of 1000 with two digits, as etcd's tools show sizes: `20 kB`, `1.5 GB`.
  package static func text(_ bytes: some BinaryInteger) -> String {
    guard bytes >= 10 else { return "\(bytes) B" }
    var value = Double(bytes)
    var unit = 0
    while value >= 1000, unit < units.count - 1 {
      value /= 1000
      unit += 1
    }
    let tenths = Int((value * 10 + 0.5).rounded(.down))
    guard tenths >= 100 else { return "\(tenths / 10).\(tenths % 10) \(units[unit])" }
    // To the even number where it lies in the middle, as Go's `%.0f` rounds.
    return "\(Int((Double(tenths) / 10).rounded(.toNearestOrEven))) \(units[unit])"
  }
}
