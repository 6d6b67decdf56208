import ArgumentParser
import Base
import Migration

struct LogCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "log",
    abstract: "Lists the records of a member's log, and verifies every checksum on the way.",
    discussion: """
      Columns: kind, index, term, size of the content in bytes, request, and what else there is to say. \
      Entries that were replaced are listed too. With -w json each line is an object.
      """
  )

  @Option(help: "The data directory of a member that does not run.")
  var dataDir: String

  @Option(help: "Where the member has its log, when not in the data directory.")
  var walDir: String?

  @Option(help: "The first entry to list.")
  var from: UInt64 = 1

  @Option(help: "The last entry to list.")
  var to: UInt64 = .max

  @OptionGroup var output: OutputOptions

  func validate() throws {
    guard from <= to else { throw BadArguments(description: "--from is above --to") }
  }

  func run() throws {
    let format = try output.format()
    guard format != .table else {
      throw UnsupportedFormat(description: "table not supported as output format")
    }
    try LogInspection.forEachRecord(
      dataDirectory: dataDir,
      logDirectory: walDir,
      range: from...to
    ) { record in
      if format == .simple {
        print(
          [
            record.kind, record.index.map { "\($0)" } ?? "-", record.term.map { "\($0)" } ?? "-",
            record.sizeBytes.map { "\($0)" } ?? "-", record.request ?? "-", record.detail,
          ].joined(separator: "\t")
        )
        return
      }
      var figures = [Figure("kind", "Kind", "kind", .text(record.kind))]
      if let index = record.index {
        figures.append(Figure("index", "Index", "index", index.rawValue))
      }
      if let term = record.term { figures.append(Figure("term", "Term", "term", term.rawValue)) }
      if let size = record.sizeBytes { figures.append(Figure("size", "Size", "size", size)) }
      if let request = record.request {
        figures.append(Figure("request", "Request", "request", .text(request)))
      }
      if !record.detail.isEmpty {
        figures.append(Figure("detail", "Detail", "detail", .text(record.detail)))
      }
      figures.append(Figure("file", "File", "file", .text(record.file)))
      figures.append(Figure("offset", "Offset", "offset", record.offset))
      Output.print(figures, as: format)
    }
  }
}
