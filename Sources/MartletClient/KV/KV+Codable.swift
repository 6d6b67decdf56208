import Foundation

/// Turns values into bytes and back, for the calls that take and give `Codable` values.
///
/// JSON unless said otherwise: `JSONValueCoder`.
public protocol ValueCoder: Sendable {
  func encode(_ value: some Encodable) throws -> [UInt8]
  func decode<Value: Decodable>(_ type: Value.Type, from bytes: [UInt8]) throws -> Value
}

/// Values as JSON, with sorted keys, so that equal values have equal bytes and can be compared in
/// transactions.
public struct JSONValueCoder: ValueCoder {
  public init() {}

  public func encode(_ value: some Encodable) throws -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return Array(try encoder.encode(value))
  }

  public func decode<Value: Decodable>(_ type: Value.Type, from bytes: [UInt8]) throws -> Value {
    try JSONDecoder().decode(type, from: Data(bytes))
  }
}

extension KV {
  /// Sets a key to an encoded value; see `put(_:_:lease:returnsPrevious:)`. Throws `invalidArgument`
  /// for a value that cannot be encoded.
  @discardableResult
  public func put(
    _ key: some BytesConvertible,
    encoding value: some Encodable,
    lease: LeaseID = .none,
    coder: some ValueCoder = JSONValueCoder()
  ) async throws(ClientError) -> PutResult {
    let bytes: [UInt8]
    do {
      bytes = try coder.encode(value)
    } catch {
      throw .invalid("the value cannot be encoded: \(error)")
    }
    return try await put(key, bytes, lease: lease)
  }

  /// The decoded value of a key; nil when there is no such key. Throws `malformedResponse` for a
  /// value that is not one.
  public func get<Value: Decodable>(
    _ key: some BytesConvertible,
    as type: Value.Type,
    _ options: RangeOptions = RangeOptions(),
    coder: some ValueCoder = JSONValueCoder()
  ) async throws(ClientError) -> Value? {
    guard let keyValue = try await get(key, options) else { return nil }
    return try keyValue.decoded(as: type, coder: coder)
  }
}

extension KeyValue {
  /// The decoded value. Throws `malformedResponse` for a value that is not one.
  public func decoded<Value: Decodable>(
    as type: Value.Type,
    coder: some ValueCoder = JSONValueCoder()
  ) throws(ClientError) -> Value {
    do {
      return try coder.decode(type, from: value)
    } catch {
      let text = "the value of \(keyText) is no \(type): \(error)"
      throw ClientError.malformed(text).with(.notDone)
    }
  }
}
