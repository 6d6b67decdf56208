import Foundation
import Testing

/// The house's one rule: imports point down. The compiler lets a target import whatever its
/// dependencies happen to import, so the table is checked against the sources themselves.
@Suite struct ImportTests {
  /// What each target may import, besides the modules of the toolchain.
  static let allowed: [String: Set<String>] = [
    "Base": [],
    "Flags": [],
    "Terminal": [],
    "Discovery": ["NIOPosix"],
    "Sockets": ["NIOCore"],
    "Proto": ["Base", "CProto"],
    "HTTP2": ["Base", "CNghttp2", "NIOCore"],
    "RPC": [
      "Base", "Proto", "HTTP2", "Sockets", "CZlib", "NIOCore", "NIOPosix", "NIOHTTP1",
    ],
    "Log": ["Base", "CSupport"],
    "Storage": ["Base", "CLMDB", "CSupport"],
    "Raft": ["Base", "DequeModule"],
    "MVCC": ["Base", "Proto", "Storage", "CSupport"],
    "Membership": ["Base", "Crypto"],
    "MemberFiles": ["Base", "Crypto"],
    "Lease": ["Base", "Proto", "MVCC"],
    "Auth": ["Base", "Proto"],
    "Watch": ["Base", "Proto", "Storage", "MVCC"],
    "Replica": [
      "Base", "Proto", "Raft", "MVCC", "Lease", "Auth", "Membership", "Log", "Storage",
    ],
    "TLS": ["Base", "NIOCore", "NIOTLS", "NIOSSL", "X509", "SwiftASN1", "Crypto", "Logging"],
    "Peer": [
      "Base", "Proto", "RPC", "HTTP2", "Raft", "Membership", "Replica", "TLS", "NIOCore",
      "NIOPosix", "Logging",
    ],
    "Prometheus": ["Base", "CoreMetrics"],
    "JSONGateway": ["Base", "Proto", "RPC"],
    "MartletServer": [
      "Base", "Flags", "Discovery", "Proto", "RPC", "TLS", "JSONGateway", "Prometheus", "Peer",
      "Replica", "Raft", "MVCC", "Lease", "Auth", "Watch", "Membership", "Log", "Storage",
      "MemberFiles", "CCrypt", "NIOCore", "NIOPosix", "Logging", "CoreMetrics", "Tracing", "Crypto",
      "JWTKit",
      "Yams",
    ],
    "MartletClient": [
      "Base", "Discovery", "Proto", "RPC", "TLS", "NIOCore", "NIOPosix", "Logging", "CoreMetrics",
      "Tracing",
    ],
    "Simulation": [
      "Base", "Proto", "Raft", "MVCC", "Lease", "Watch", "Membership", "Log", "Storage", "Replica",
    ],
    "Gateway": [
      "Flags", "Discovery", "Sockets", "TLS", "NIOCore", "NIOPosix", "NIOTLS", "Logging",
    ],
    "GRPCProxy": [
      "Base", "Flags", "Discovery", "Proto", "HTTP2", "RPC", "TLS", "Prometheus", "NIOCore",
      "NIOPosix", "Logging",
    ],
    "BoltFile": ["Base"],
    "Migration": [
      "Base", "Proto", "BoltFile", "Storage", "MVCC", "Lease", "Auth", "Membership", "Log",
      "Raft", "MemberFiles", "Replica", "Crypto",
    ],
    "martlet": ["MartletServer", "Gateway", "GRPCProxy", "Sockets", "NIOPosix", "Logging"],
    "martletctl": [
      "MartletClient", "Base", "Proto", "Flags", "Terminal", "Discovery", "Logging",
    ],
    "martletutl": ["Migration", "Base", "Proto", "Terminal", "ArgumentParser"],
    "martlet-sim": ["Simulation", "ArgumentParser"],
    "martlet-bench": [
      "MartletClient", "Base", "Proto", "HTTP2", "RPC", "TLS", "NIOCore", "NIOPosix",
      "ArgumentParser", "Histogram",
    ],
  ]

  /// Modules that come with the toolchain. The pure core below may not even use Foundation.
  static let toolchain: Set<String> = [
    "Glibc", "Synchronization", "Foundation", "FoundationEssentials", "Dispatch",
  ]

  /// Targets that stay free of Foundation, clocks aside: they are the deterministic core and the
  /// hot path.
  static let withoutFoundation: Set<String> = [
    "Base", "Proto", "HTTP2", "RPC", "Log", "Storage", "Raft", "MVCC", "Membership",
    "Lease", "Auth", "Watch", "Replica", "Simulation", "Flags", "Terminal", "Discovery", "Gateway",
    "GRPCProxy", "BoltFile", "MemberFiles",
  ]

  static let root = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  static func swiftFiles(below folder: URL) -> [URL] {
    let files = FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil)
    return (files?.allObjects as? [URL] ?? []).filter { $0.pathExtension == "swift" }
  }

  /// The modules that a source file imports.
  static func imports(of text: String) -> [String] {
    text.split(separator: "\n").compactMap { line in
      var words = line.split(separator: " ").map(String.init)
      while let first = words.first, first.hasPrefix("@") || Self.accessLevels.contains(first) {
        words.removeFirst()
      }
      guard words.first == "import", words.count > 1 else { return nil }
      let name = Self.kinds.contains(words[1]) && words.count > 2 ? words[2] : words[1]
      return name.split(separator: ".").first.map(String.init)
    }
  }

  static let accessLevels: Set<String> = [
    "public", "package", "internal", "private", "fileprivate",
  ]
  static let kinds: Set<String> = ["struct", "class", "enum", "protocol", "func", "typealias"]

  @Test func everyTargetHasARow() throws {
    let sources = Self.root.appendingPathComponent("Sources")
    let folders = try FileManager.default.contentsOfDirectory(atPath: sources.path)
    let targets = folders.filter { folder in
      !Self.swiftFiles(below: sources.appendingPathComponent(folder)).isEmpty
    }
    #expect(Set(targets) == Set(Self.allowed.keys))
  }

  @Test(arguments: allowed.keys.sorted())
  func importsPointDown(target: String) throws {
    let allowed = try #require(Self.allowed[target])
    let files = Self.swiftFiles(below: Self.root.appendingPathComponent("Sources/\(target)"))
    #expect(!files.isEmpty)
    for file in files {
      for module in Self.imports(of: try String(contentsOf: file, encoding: .utf8)) {
        let isToolchain =
          Self.toolchain.contains(module)
          && !(module.hasPrefix("Foundation") && Self.withoutFoundation.contains(target))
        #expect(
          allowed.contains(module) || isToolchain,
          "\(file.lastPathComponent) of \(target) imports \(module)"
        )
      }
    }
  }

  @Test func theParserSeesEveryWayToWriteAnImport() {
    let text = """
      import Base
      package import HTTP2
      @preconcurrency public import NIOCore
      internal import struct RPC.RPCStatus
      let import_ = 1
      """
    #expect(Self.imports(of: text) == ["Base", "HTTP2", "NIOCore", "RPC"])
  }
}
