import Base
import Proto
import RPC

/// The gateway's answers.
enum GatewayResponse {
  private static let json = (name: "content-type", value: "application/json")
  /// Tells that a call was made for the answer; clients of grpc-gateway see it so.
  private static let ofCall = (name: "grpc-metadata-content-type", value: "application/grpc")

  static func message(_ body: [UInt8]) -> HTTPResponse {
    HTTPResponse(status: 200, headers: [json, ofCall], body: .bytes(body))
  }

  static func stream(_ body: HTTPResponse.Body) -> HTTPResponse {
    HTTPResponse(status: 200, headers: [json, ofCall], body: body)
  }

  /// `{"error":..,"code":..,"message":..}`: both texts are the status's.
  static func error(_ status: RPCStatus) -> HTTPResponse {
    var writer = ByteWriter()
    writer.append(text: #"{"error":"#)
    writer.append(quoted: status.message)
    writer.append(text: #","code":"#)
    writer.append(decimal: status.code.rawValue)
    writer.append(text: #","message":"#)
    writer.append(quoted: status.message)
    writer.append(text: "}")
    return HTTPResponse(
      status: HTTPStatus.status(of: status.code),
      headers: [json],
      body: .bytes([UInt8](writer.bytes))
    )
  }

  /// The failure of a stream that has answered nothing yet.
  static func streamError(_ status: RPCStatus) -> HTTPResponse {
    HTTPResponse(
      status: HTTPStatus.status(of: status.code),
      headers: [json],
      body: .bytes(errorLine(status))
    )
  }

  /// One message of a stream. Throws when the bytes are no message of that type.
  static func line(
    _ descriptor: MessageDescriptor,
    _ message: [UInt8]
  ) throws(DecodeError) -> [UInt8] {
    var writer = ByteWriter(capacity: message.count * 2 + 64)
    writer.append(text: #"{"result":"#)
    try message.withUnsafeBufferPointer { bytes throws(DecodeError) in
      try Transcoder.appendJSON(descriptor, of: UnsafeRawBufferPointer(bytes), to: &writer)
    }
    writer.append(text: "}\n")
    return [UInt8](writer.bytes)
  }

  /// The last line of a stream that failed.
  static func errorLine(_ status: RPCStatus) -> [UInt8] {
    let httpCode = HTTPStatus.status(of: status.code)
    var writer = ByteWriter()
    writer.append(text: #"{"error":{"grpc_code":"#)
    writer.append(decimal: status.code.rawValue)
    writer.append(text: #","http_code":"#)
    writer.append(decimal: httpCode)
    writer.append(text: #","message":"#)
    writer.append(quoted: status.message)
    writer.append(text: #","http_status":"#)
    writer.append(quoted: HTTPStatus.phrase(of: httpCode))
    writer.append(text: "}}\n")
    return [UInt8](writer.bytes)
  }

  static func plain(_ status: Int) -> HTTPResponse {
    let text = status == 405 ? "Method Not Allowed\n" : "Not Found\n"
    var response = HTTPResponse(status: status, text: text)
    response.headers.append((name: "x-content-type-options", value: "nosniff"))
    if status == 405 { response.headers.append((name: "allow", value: "POST")) }
    return response
  }
}
