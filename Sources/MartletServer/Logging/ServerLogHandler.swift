import Base
package import Logging

/// Writes log events as lines of JSON or text to the outputs of a sink.
///
/// Loggers made from one control share its level; one whose own `logLevel` is set keeps that.
package struct ServerLogHandler: LogHandler {
  private let format: LogSettings.Format
  private let sink: LogSink
  private let control: LogLevelControl
  private var ownLevel: Logger.Level?
  package var metadata: Logger.Metadata = [:]
  package var metadataProvider: Logger.MetadataProvider?

  package init(format: LogSettings.Format, sink: LogSink, control: LogLevelControl) {
    self.format = format
    self.sink = sink
    self.control = control
  }

  /// A logger as the flags ask for, and the control of its level.
  ///
  /// Throws when an output cannot be opened.
  package static func logger(
    label: String,
    settings: LogSettings
  ) throws(ConfigurationError) -> (logger: Logger, control: LogLevelControl) {
    let sink = try LogSink(settings.outputs, rotation: settings.rotation)
    let control = LogLevelControl(settings.level)
    let handler = ServerLogHandler(format: settings.format, sink: sink, control: control)
    return (Logger(label: label) { _ in handler }, control)
  }

  package var logLevel: Logger.Level {
    get { ownLevel ?? control.level }
    set { ownLevel = newValue }
  }

  package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  package func log(event: LogEvent) {
    var fields = metadata
    if let provided = metadataProvider?.get() {
      fields.merge(provided) { _, new in new }
    }
    if let more = event.metadata { fields.merge(more) { _, new in new } }
    if let error = event.error { fields["error"] = .string("\(error)") }
    let time = LogText.timestamp(nanosecondsSince1970: SystemTime.wallNanoseconds)
    let level = LogSettings.name(of: event.level)
    switch format {
    case .json:
      let file = event.file.split(separator: "/").last ?? ""
      sink.write(
        LogText.json(
          time: time,
          level: level,
          caller: "\(file):\(event.line)",
          message: event.message.description,
          fields: fields
        )
      )
    case .console:
      sink.write(
        LogText.console(
          time: time,
          level: level,
          message: event.message.description,
          fields: fields
        )
      )
    }
  }
}
