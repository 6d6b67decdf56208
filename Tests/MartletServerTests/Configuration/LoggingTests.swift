import Glibc
import Logging
import MartletServer
import Testing

@Suite("Log lines")
struct LogTextTests {
  @Test(
    "JSON strings",
    arguments: [
      ("plain", #""plain""#), (#"a"b\c"#, #""a\"b\\c""#), ("a\nb\tc\rd", #""a\nb\tc\rd""#),
      ("\u{0}\u{1b}[31m\u{7f}\u{9b}", #""\u0000\u001b[31m\u007f\u009b""#),
      ("\u{2028}\u{2029}", #""\u2028\u2029""#), ("h\u{f6}\u{1f426}", "\"h\u{f6}\u{1f426}\""),
      ("\r\n", #""\r\n""#), ("", #""""#),
    ]
  )
  func quoted(text: String, json: String) {
    #expect(LogText.quoted(text) == json)
  }

  @Test("a JSON line: zap's keys, then the fields by name; taken names are moved aside")
  func json() {
    let line = LogText.json(
      time: "T",
      level: "warn",
      caller: "f.swift:1",
      message: "a \"b\"",
      fields: [
        "z": "1", "a": .stringConvertible(7), "msg": "x", "ok": .stringConvertible(true),
        "list": ["1", .stringConvertible(2)], "map": ["k\n": "v"],
      ]
    )
    #expect(
      line
        == #"{"level":"warn","ts":"T","caller":"f.swift:1","msg":"a \"b\"","a":7,"list":["1",2],"#
        + #""map":{"k\n":"v"},"field.msg":"x","ok":true,"z":"1"}"#
    )
  }

  @Test("a text line: values with spaces are quoted, nothing breaks the line")
  func console() {
    let line = LogText.console(
      time: "T",
      level: "info",
      message: "two\nlines \u{1b}[0m",
      fields: ["b": "x y", "a": "1", "c": "", "d": "k=v", "e": "l\nm", "f": ["1"]]
    )
    #expect(
      line
        == #"T INFO  two\nlines \u001b[0m a=1 b="x y" c="" d="k=v" e="l\nm" f=["1"]"#
    )
  }

  @Test("metadata nested without end is cut")
  func depth() {
    var value: Logger.Metadata.Value = "core"
    for _ in 0..<10_000 { value = .array([value]) }
    let line = LogText.json(
      time: "",
      level: "",
      caller: "",
      message: "",
      fields: ["deep": value]
    )
    #expect(line.contains(#"[[[[[[[["..."]]]]]]]]"#))
  }

  @Test("timestamps")
  func timestamps() {
    #expect(
      LogText.timestamp(nanosecondsSince1970: 1_795_462_161_007_999_999)
        == "2026-11-23T19:29:21.007Z"
    )
    #expect(LogText.timestamp(nanosecondsSince1970: 0) == "1970-01-01T00:00:00.000Z")
  }
}

@Suite("Logger")
struct ServerLogHandlerTests {
  private func lines(
    _ format: LogSettings.Format,
    _ body: (inout Logger, LogLevelControl) -> Void
  ) throws -> [String] {
    let folder = try TemporaryFolder()
    let file = "\(folder.path)/log"
    let settings = LogSettings(level: .info, format: format, outputs: [.file(file)])
    var (logger, control) = try ServerLogHandler.logger(label: "test", settings: settings)
    body(&logger, control)
    var info = stat()
    #expect(stat(file, &info) == 0)
    #expect(info.st_mode & 0o777 == 0o600)
    return try TemporaryFolder.read(file).split(separator: "\n").map(String.init)
  }

  @Test("writes to a file; the level changes at run time for every copy")
  func levels() throws {
    let written = try lines(.console) { logger, control in
      let copy = logger
      copy.debug("1")
      copy.info("2")
      control.level = .debug
      copy.debug("3")
      control.level = .error
      copy.warning("4")
      copy.error("5")
      logger.logLevel = .trace
      logger.trace("6")
      copy.info("7")
    }
    #expect(written.map { $0.suffix(1) } == ["2", "3", "5", "6"])
    #expect(written.last?.contains(" DEBUG 6") == true)
  }

  @Test("metadata of logger and event are merged, the event's wins; the caller is named")
  func metadata() throws {
    let written = try lines(.json) { logger, _ in
      logger[metadataKey: "a"] = "1"
      logger[metadataKey: "b"] = "1"
      logger.critical("m", metadata: ["b": "2"])
    }
    let line = try #require(written.first)
    #expect(line.hasPrefix(#"{"level":"fatal","ts":""#))
    #expect(line.contains(#""caller":"LoggingTests.swift:"#))
    #expect(line.hasSuffix(#""msg":"m","a":"1","b":"2"}"#))
  }

  @Test("lines of several threads never mix, and a very long one is cut")
  func threads() async throws {
    let folder = try TemporaryFolder()
    let file = "\(folder.path)/log"
    let sink = try LogSink([.file(file)])
    await withTaskGroup(of: Void.self) { group in
      for task in 0..<8 {
        group.addTask {
          for _ in 0..<200 { sink.write(String(repeating: "\(task)", count: 500)) }
        }
      }
    }
    sink.write(String(repeating: "x", count: 1 << 20))
    let lines = try TemporaryFolder.read(file).split(separator: "\n")
    #expect(lines.count == 1601)
    #expect(lines.dropLast().allSatisfy { $0.count == 500 && Set($0).count == 1 })
    #expect(lines.last?.count == LogSink.lineBytesMax - 1)
  }

  @Test("an output that cannot be opened is named")
  func unopenable() throws {
    let folder = try TemporaryFolder()
    let file = "\(folder.path)/none/log"
    let error = #expect(throws: ConfigurationError.self) { try LogSink([.file(file)]) }
    #expect(error?.message.contains(file) == true)
  }
}
