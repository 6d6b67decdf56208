import Logging
import RPC
import Yams

/// /config/local/log, as etcd 3.4 has it: PUT `{"Level":"DEBUG"}` sets the level of the log while the
/// member runs, GET tells it.
struct LogLevelEndpoint: Sendable {
  let control: LogLevelControl
  let logger: Logger

  /// A body longer than this is no level.
  static let bodyBytesMax = 4096

  func respond(to request: HTTPRequest) -> HTTPResponse {
    switch request.method {
    case "GET", "HEAD":
      let level = LogSettings.name(of: control.level).uppercased()
      return json(200, #"{"Level":"\#(level)"}"#)
    case "PUT":
      return set(request.body)
    default:
      return HTTPResponse(
        status: 405,
        headers: [("allow", "GET, HEAD, PUT"), ("content-type", "text/plain")],
        body: .bytes(Array("Method Not Allowed\n".utf8))
      )
    }
  }

  private func set(_ body: [UInt8]) -> HTTPResponse {
    guard body.count <= Self.bodyBytesMax,
      // JSON is YAML.
      let text = try? Yams.compose(yaml: String(decoding: body, as: UTF8.self))?["Level"]?.string
    else { return json(400, #"{"message":"Invalid json body"}"#) }
    let name = text.lowercased()
    guard let level = LogSettings.level(named: name) ?? LogSettings.olderLevel(named: name) else {
      return json(
        400,
        #"{"message":\#(LogText.quoted("Invalid log level \(text)"))}"#
      )
    }
    // The same words go out before and after, so that a log says where its silence begins.
    let fields: Logger.Metadata = ["level": .string(LogSettings.name(of: level))]
    logger.notice("the log's level changes", metadata: fields)
    control.level = level
    logger.notice("the log's level has changed", metadata: fields)
    return HTTPResponse(status: 204, headers: [], body: .bytes([]))
  }

  private func json(_ status: Int, _ text: String) -> HTTPResponse {
    HTTPResponse(status: status, text: text, contentType: "application/json")
  }
}
