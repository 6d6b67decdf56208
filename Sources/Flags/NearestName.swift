/// Finds what somebody probably meant.
package enum NearestName {
  /// Longer words are not compared: nobody's typing error is that long.
  static let lengthMax = 100

  /// The candidate with the fewest changes from `word`, the first of equals; none when even that
  /// one differs by more than a third of its letters.
  package static func find(_ word: String, among candidates: [String]) -> String? {
    guard word.utf8.count <= lengthMax else { return nil }
    var best: (name: String, distance: Int)?
    for candidate in candidates {
      let distance = distance(Array(word.utf8), Array(candidate.utf8))
      guard distance <= max(2, candidate.utf8.count / 3) else { continue }
      if distance < best?.distance ?? Int.max { best = (candidate, distance) }
    }
    return best?.name
  }

  /// A sentence that begins with a space, or nothing.
  package static func hint(
    for word: String,
    among candidates: [String],
    prefix: String = ""
  ) -> String {
    find(word, among: candidates).map { " Did you mean \(prefix)\($0)?" } ?? ""
  }

  /// How many letters must be inserted, deleted, replaced or swapped with their neighbour to
  /// make one word the other.
  static func distance(_ left: [UInt8], _ right: [UInt8]) -> Int {
    var beforeLast: [Int] = []
    var last = Array(0...right.count)
    for row in left.indices {
      var current = [row + 1]
      for column in right.indices {
        let change = left[row] == right[column] ? 0 : 1
        var cost = min(last[column] + change, last[column + 1] + 1, current[column] + 1)
        if row > 0, column > 0, left[row] == right[column - 1], left[row - 1] == right[column] {
          cost = min(cost, beforeLast[column - 1] + 1)
        }
        current.append(cost)
      }
      beforeLast = last
      last = current
    }
    return last[right.count]
  }
}
