/// The rules that a simulation checks. Names like J1 are those of contract/invariants.md.
package enum Invariant: String, Sendable {
  /// Reads, writes and txns are strictly serializable.
  case linearizability = "J1"
  /// Watches: what they begin with.
  case watchStart = "J2"
  /// A former holder of a lock does nothing with it.
  case fencing = "J4"
  /// A refused request is never done.
  case refusal = "J5"
  /// What is acknowledged is on the disks of a quorum.
  case durability = "J6"
  /// Restarts replay to the same state.
  case replay = "P2"
  /// Equal state at equal applied indexes.
  case equalState = "P3"
  case progressNotification = "R1"
  case watchOrder = "R2"
  case watchLoss = "R4"
  case revisionFalls = "R5"
  case lease = "R11"
  /// The membership is what the log says, and who was removed is gone.
  case membership = "R13"
  /// A committed entry is the same for everybody, for ever.
  case committedEntry = "C1"
  /// One leader a term.
  case oneLeader = "C2"
  /// An answer is what the entry leads to.
  case answer = "C3"
  /// A healed cluster works.
  case progress = "C4"
  /// A damaged log stops the start.
  case damage = "D1"
  /// Something threw that cannot.
  case unexpected = "C5"
}

/// A rule that was found broken.
package struct Violation: Error, CustomStringConvertible {
  package var invariant: Invariant
  package var text: String

  init(_ invariant: Invariant, _ text: String) {
    self.invariant = invariant
    self.text = text
  }

  package var description: String { "\(invariant.rawValue) \(invariant): \(text)" }
}
