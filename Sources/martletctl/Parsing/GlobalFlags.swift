/// The flags that all commands have.
enum GlobalFlags {
  static let all: [Flag] = [
    Flag(
      "cacert",
      "file of the authorities that members' certificates are checked against",
      values: .files
    ),
    Flag("cert", "file of the certificate that this client shows", values: .files),
    Flag("command-timeout", .duration, "5s", "how long a short command may take"),
    Flag("debug", .bool, "", "say on the standard error what the client does"),
    Flag("dial-timeout", .duration, "2s", "how long connecting to one endpoint may take"),
    Flag("discovery-srv", short: "d", "domain whose SRV records name the endpoints"),
    Flag("discovery-srv-name", "what is put behind the service's name in that question"),
    Flag("endpoints", .list, "127.0.0.1:2379", "where the members are reached"),
    Flag("hex", .bool, "", "print keys and values as hexadecimal escapes"),
    Flag("insecure-discovery", .bool, "true", "take SRV records of unencrypted endpoints too"),
    Flag("insecure-skip-tls-verify", .bool, "", "take any certificate: only for tests"),
    Flag("insecure-transport", .bool, "true", "speak without encryption unless told otherwise"),
    Flag("keepalive-time", .duration, "2s", "silence after which a sign of life is asked for"),
    Flag("keepalive-timeout", .duration, "6s", "how long the sign of life may take"),
    Flag("key", "file of the key of --cert", values: .files),
    Flag("password", "password of --user"),
    Flag("user", "name[:password]; the password is asked for when it is missing"),
    Flag(
      "write-out",
      short: "w",
      .string,
      "simple",
      "format of the output: simple, json, fields, table or protobuf",
      values: .words(OutputFormat.allCases.map(\.rawValue))
    ),
  ]

  /// Variables that are no flags.
  static let otherVariables: Set<String> = [
    "ETCDCTL_API", "ETCDCTL_WATCH_KEY", "ETCDCTL_WATCH_RANGE_END",
  ]

  /// Fills in what only the environment says. Throws for a flag that both say, as etcdctl does.
  static func apply(environment: [String: String], to values: inout FlagValues) throws {
    for flag in all {
      guard let text = environment[flag.variable], !text.isEmpty else { continue }
      guard !values.isSet(flag.name) else {
        throw Failure(
          .error,
          "conflicting environment variable \"\(flag.variable)\" is shadowed by corresponding "
            + "command-line flag (either unset environment variable or disable flag)"
        )
      }
      if let objection = flag.objection(to: text) {
        throw Failure.badArguments(
          "invalid value \(GoText.quoted(text)) for \(flag.variable): \(objection)"
        )
      }
      values.set(flag.name, text)
    }
    let known = otherVariables.union(all.map(\.variable))
    for name in environment.keys.sorted() where name.hasPrefix("ETCDCTL_") {
      if !known.contains(name) {
        Streams.warn("unrecognized environment variable \(name)=\(environment[name] ?? "")")
      }
    }
    if let version = environment["ETCDCTL_API"], !version.isEmpty, version != "3" {
      throw Failure(.error, "unsupported API version \(version)")
    }
  }
}

extension Flag {
  init(_ name: String, _ help: String, values: Values = .any) {
    self.init(name, .string, "", help, values: values)
  }

  init(_ name: String, short: Character, _ help: String) {
    self.init(name, short: short, .string, "", help)
  }
}
