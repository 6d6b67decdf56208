import Glibc
import Yams

/// The file of `--config-file`: YAML whose keys are the flags' names. etcd's nested sections are
/// understood, too: `client-transport-security`, `peer-transport-security`, `socket-options`.
enum ConfigurationFile {
  /// The largest file that is read.
  static let sizeBytesMax = 1 << 20

  /// What a file says: the values of flags, and keys that no flag has.
  struct Content {
    var values: [(flag: Flag, text: String)] = []
    var unknownKeys: [String] = []
  }

  /// Reads and parses the file at `path`.
  static func read(path: String) throws(ConfigurationError) -> Content {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure(path, String(cString: strerror(errno))) }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw failure(path, String(cString: strerror(errno))) }
      if count == 0 { break }
      bytes += chunk[..<count]
      guard bytes.count <= sizeBytesMax else {
        throw failure(path, "it is larger than \(sizeBytesMax) bytes")
      }
    }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw failure(path, "it is not UTF-8")
    }
    return try parse(text, path: path)
  }

  /// Parses the text of a file; `path` is for messages.
  static func parse(_ text: String, path: String) throws(ConfigurationError) -> Content {
    let root: Node?
    do {
      root = try compose(yaml: text)
    } catch {
      throw failure(path, "it is no valid YAML: \(error)")
    }
    var content = Content()
    guard let root, !isNull(root) else { return content }
    guard let mapping = root.mapping else {
      throw failure(path, "it must hold keys and values at its top")
    }
    for (key, value) in mapping {
      guard let name = key.string else { throw failure(path, "a key is no text") }
      if let section = sections[name] {
        guard !isNull(value) else { continue }
        guard let entries = value.mapping else {
          throw failure(path, "\(name) must hold keys and values")
        }
        for (key, value) in entries {
          let inner = key.string ?? ""
          try content.add(
            section[inner] ?? "",
            value,
            label: "\(name).\(inner)",
            path: path
          )
        }
      } else {
        try content.add(name, value, label: name, path: path)
      }
    }
    return content
  }

  private static let securityKeys = [
    "cert-file", "key-file", "client-cert-file", "client-key-file", "client-cert-auth",
    "trusted-ca-file", "auto-tls",
  ]

  private static let sections: [String: [String: String]] = [
    "client-transport-security": Dictionary(
      uniqueKeysWithValues: securityKeys.map { ($0, $0) } + [
        ("crl-file", "client-crl-file"), ("client-crl-file", "client-crl-file"),
        ("allowed-hostname", "client-cert-allowed-hostname"),
      ]
    ),
    "peer-transport-security": Dictionary(
      uniqueKeysWithValues: securityKeys.map { ($0, "peer-\($0)") } + [
        ("crl-file", "peer-crl-file"), ("peer-crl-file", "peer-crl-file"),
        ("allowed-cn", "peer-cert-allowed-cn"), ("allowed-hostname", "peer-cert-allowed-hostname"),
      ]
    ),
    "socket-options": [
      "reuse-port": "socket-reuse-port", "reuse-address": "socket-reuse-address",
    ],
  ]

  fileprivate static func isNull(_ node: Node) -> Bool {
    guard let scalar = node.scalar, scalar.style == .plain || scalar.style == .any else {
      return false
    }
    return ["", "~", "null", "Null", "NULL"].contains(scalar.string)
  }

  fileprivate static func failure(_ path: String, _ reason: String) -> ConfigurationError {
    .file("configuration file \(path): \(reason).")
  }
}

extension ConfigurationFile.Content {
  fileprivate mutating func add(
    _ name: String,
    _ node: Node,
    label: String,
    path: String
  ) throws(ConfigurationError) {
    guard let flag = FlagTable.flag(name) else {
      unknownKeys.append(label)
      return
    }
    if case .command = flag.kind {
      unknownKeys.append(label)
      return
    }
    if ConfigurationFile.isNull(node) { return }
    if let scalar = node.scalar {
      values.append((flag, scalar.string))
    } else if let items = node.sequence {
      var texts: [String] = []
      for item in items {
        guard let scalar = item.scalar else {
          throw ConfigurationFile.failure(path, "\(label) must hold texts")
        }
        texts.append(scalar.string)
      }
      values.append((flag, texts.joined(separator: ",")))
    } else if flag.name == "feature-gates", let gates = node.mapping {
      let texts = gates.map { "\($0.key.string ?? "")=\($0.value.string ?? "")" }
      values.append((flag, texts.joined(separator: ",")))
    } else {
      throw ConfigurationFile.failure(path, "\(label) must be a single value or a list")
    }
  }
}
