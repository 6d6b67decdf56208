/// How far a long work is, in bytes of what it reads.
package struct ProgressStep: Sendable {
  package var phase: String
  package var doneBytes: Int
  package var totalBytes: Int
}

/// Is told of the progress now and then. What it throws ends the work, and nothing is left behind.
package typealias ProgressReport = (ProgressStep) throws -> Void

/// One phase of a work.
struct ProgressPhase {
  private let phase: String
  private let totalBytes: Int
  private let report: ProgressReport

  init(_ phase: String, totalBytes: Int, _ report: @escaping ProgressReport) throws {
    self.phase = phase
    self.totalBytes = totalBytes
    self.report = report
    try note(0)
  }

  func note(_ doneBytes: Int) throws {
    try report(
      ProgressStep(phase: phase, doneBytes: min(doneBytes, totalBytes), totalBytes: totalBytes)
    )
  }

  func end() throws { try note(totalBytes) }
}
