/// The header `grpc-timeout`: one to eight digits and a unit.
package enum CallTimeout {
  /// The most digits that the header may have.
  static let digitsMax = 8
  /// What stands for "longer than anybody waits": about 146 years.
  static let nanosecondsMax = UInt64(Int64.max / 2)

  /// The timeout in nanoseconds, or nil when the bytes are not a timeout.
  package static func parse(_ bytes: UnsafeRawBufferPointer) -> UInt64? {
    guard bytes.count >= 2, bytes.count <= digitsMax + 1,
      let unit = nanoseconds(inUnit: bytes[bytes.count - 1])
    else { return nil }
    var amount: UInt64 = 0
    for index in 0..<bytes.count - 1 {
      let digit = bytes[index] &- UInt8(ascii: "0")
      guard digit <= 9 else { return nil }
      amount = amount * 10 + UInt64(digit)
    }
    let (product, overflow) = amount.multipliedReportingOverflow(by: unit)
    return overflow ? nanosecondsMax : min(product, nanosecondsMax)
  }

  /// The header's text for a timeout, rounded up to what eight digits can say.
  package static func format(nanoseconds: UInt64) -> String {
    let units: [(name: String, size: UInt64)] = [
      ("n", 1), ("u", 1000), ("m", 1_000_000), ("S", 1_000_000_000), ("M", 60_000_000_000),
      ("H", 3_600_000_000_000),
    ]
    for unit in units {
      let amount = nanoseconds / unit.size + (nanoseconds % unit.size == 0 ? 0 : 1)
      if amount < 100_000_000 { return "\(amount)\(unit.name)" }
    }
    return "99999999H"
  }

  private static func nanoseconds(inUnit unit: UInt8) -> UInt64? {
    switch unit {
    case UInt8(ascii: "n"): 1
    case UInt8(ascii: "u"): 1000
    case UInt8(ascii: "m"): 1_000_000
    case UInt8(ascii: "S"): 1_000_000_000
    case UInt8(ascii: "M"): 60_000_000_000
    case UInt8(ascii: "H"): 3_600_000_000_000
    default: nil
    }
  }
}
