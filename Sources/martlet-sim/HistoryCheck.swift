import ArgumentParser
import Glibc
import Simulation

/// `--check-history`: whether what clients of a real cluster saw is linearizable.
enum HistoryCheck {
  /// The search's bound: some minutes.
  private static let stepsMax = 20_000_000
  private static let gaveUpCode = ExitCode(2)

  /// Exits with 1 for a history that is not linearizable, with 2 when the search gave up. Throws for
  /// a file that is no history.
  static func run(_ path: String) throws {
    guard let text = read(path) else { throw ValidationError("\(path) cannot be read") }
    let history: RecordedHistory
    do throws(RecordedHistory.LineFault) {
      history = try RecordedHistory(text)
    } catch {
      throw ValidationError("\(path): \(error)")
    }
    let result = history.check(stepsMax: stepsMax)
    switch result.outcome {
    case .linearizable:
      print("\(history.count) operations are linearizable")
    case .violated(let placed, _):
      print("NOT linearizable: of \(history.count) operations \(placed) can be put in order, not")
      print(result.stuckLine ?? "-")
      throw ExitCode(1)
    case .gaveUp:
      print("the search gave up after \(stepsMax) steps")
      throw gaveUpCode
    }
  }

  private static func read(_ path: String) -> String? {
    guard let file = fopen(path, "r") else { return nil }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = fread(&buffer, 1, buffer.count, file)
      if count == 0 { break }
      bytes += buffer[..<count]
    }
    return ferror(file) == 0 ? String(validating: bytes, as: UTF8.self) : nil
  }
}
