/// The formats of `--write-out`.
enum OutputFormat: String, Sendable, CaseIterable {
  case simple, json, fields, table, protobuf

  /// The formats that a command's output has.
  struct Set: Sendable {
    let formats: [OutputFormat]

    /// Prints text, whatever the format.
    static let any = Set(formats: OutputFormat.allCases)
    /// Prints text, and does not even look at what was asked for.
    static let unchecked = Set(formats: [])
    static let withoutTable = Set(formats: [.simple, .json, .fields, .protobuf])
    static let withoutProtobuf = Set(formats: [.simple, .json, .fields, .table])
    /// What is the same for people and programs.
    static let basic = Set(formats: [.simple, .json, .protobuf])
  }

  /// Throws for a name that is none, and for a format that the command's output does not have.
  static func named(_ name: String, among set: Set) throws -> OutputFormat {
    if set.formats.isEmpty { return .simple }
    guard let format = OutputFormat(rawValue: name) else {
      throw Failure(.badFeature, "unsupported output format")
    }
    guard set.formats.contains(format) else {
      throw Failure(.badFeature, "\(name) not supported as output format")
    }
    return format
  }
}
