/// Major and minor of a version.
package struct ClusterVersion: Equatable, CustomStringConvertible {
  package var major: Int
  package var minor: Int

  /// Reads `3.5`, `3.5.1` or a version of semver.org with what may follow; the patch is dropped.
  package init?(_ text: String) {
    let core = text.prefix { $0 != "-" && $0 != "+" }
    let rest = text[core.endIndex...]
    let parts = core.split(separator: ".", omittingEmptySubsequences: false)
    guard (2...3).contains(parts.count), parts.count == 3 || rest.isEmpty else { return nil }
    let numbers = parts.compactMap { part -> Int? in
      let isDigits = !part.isEmpty && part.allSatisfy { $0.isASCII && $0.isNumber }
      return isDigits ? Int(part) : nil
    }
    guard numbers.count == parts.count, rest.isEmpty || rest.count > 1 else { return nil }
    (major, minor) = (numbers[0], numbers[1])
  }

  package func isOneMinorBelow(_ other: ClusterVersion) -> Bool {
    major == other.major && minor == other.minor - 1
  }

  package var description: String { "\(major).\(minor)" }
}
