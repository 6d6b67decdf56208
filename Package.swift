// swift-tools-version: 6.2
import PackageDescription

// One target per layer of the house; `Sources/README.md` says what each is for, and
// `Tests/HouseTests` checks that imports only point down.

// What the request path needs to be fast: calls between layers inlined, and no dynamic exclusivity
// checks (the tests run without these flags in debug builds). SwiftPM refuses such flags in a
// package that somebody depends on by version, so a checkout as a dependency does without.
let isDependency = Context.packageDirectory.contains("/checkouts/")
let hotPath: [SwiftSetting] =
  isDependency
  ? []
  : [
    .unsafeFlags(
      ["-enforce-exclusivity=unchecked", "-cross-module-optimization"],
      .when(configuration: .release)
    )
  ]

let strict: [SwiftSetting] =
  [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
  ] + hotPath

// Tests of these look inside, in release builds as well: they are no part of a member's request path.
let testable: [SwiftSetting] = isDependency ? [] : [.unsafeFlags(["-enable-testing"])]

let nioCore: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let nioEmbedded: Target.Dependency = .product(name: "NIOEmbedded", package: "swift-nio")
let nioTLS: Target.Dependency = .product(name: "NIOTLS", package: "swift-nio")
let nioHTTP1: Target.Dependency = .product(name: "NIOHTTP1", package: "swift-nio")
let nioSSL: Target.Dependency = .product(name: "NIOSSL", package: "swift-nio-ssl")
let x509: Target.Dependency = .product(name: "X509", package: "swift-certificates")
let asn1: Target.Dependency = .product(name: "SwiftASN1", package: "swift-asn1")
let crypto: Target.Dependency = .product(name: "Crypto", package: "swift-crypto")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let metrics: Target.Dependency = .product(name: "CoreMetrics", package: "swift-metrics")
let metricsTestKit: Target.Dependency = .product(name: "MetricsTestKit", package: "swift-metrics")
let inMemoryTracing: Target.Dependency = .product(
  name: "InMemoryTracing",
  package: "swift-distributed-tracing"
)
let tracing: Target.Dependency = .product(name: "Tracing", package: "swift-distributed-tracing")

let package = Package(
  name: "martlet",
  products: [
    .library(name: "MartletClient", targets: ["MartletClient"]),
    .library(name: "MartletServer", targets: ["MartletServer"]),
    .executable(name: "martlet", targets: ["martlet"]),
    .executable(name: "martlet-bench", targets: ["martlet-bench"]),
    .executable(name: "martlet-sim", targets: ["martlet-sim"]),
    .executable(name: "martletctl", targets: ["martletctl"]),
    .executable(name: "martletutl", targets: ["martletutl"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
    .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.0"),
    .package(url: "https://github.com/apple/swift-certificates", from: "1.21.0"),
    .package(url: "https://github.com/apple/swift-asn1", from: "1.7.0"),
    .package(url: "https://github.com/vapor/jwt-kit", from: "5.7.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
    .package(url: "https://github.com/apple/swift-distributed-tracing", from: "1.7.0"),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.0"),
    .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
  ],
  targets: [
    // C
    .target(name: "CSupport"),
    .target(name: "CProto", linkerSettings: [.linkedLibrary("protobuf-c")]),
    .systemLibrary(
      name: "CNghttp2",
      pkgConfig: "libnghttp2",
      providers: [.apt(["libnghttp2-dev"])]
    ),
    .systemLibrary(name: "CLMDB", pkgConfig: "lmdb", providers: [.apt(["liblmdb-dev"])]),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    .systemLibrary(name: "CCrypt", providers: [.apt(["libcrypt-dev"])]),

    // The layers, from the ground up
    .target(name: "Base", swiftSettings: strict),
    .target(name: "Flags", swiftSettings: strict),
    .target(name: "Terminal", swiftSettings: strict),
    .target(name: "Discovery", dependencies: [nioPosix], swiftSettings: strict),
    .target(name: "Sockets", dependencies: [nioCore], swiftSettings: strict),
    .target(name: "Proto", dependencies: ["Base", "CProto"], swiftSettings: strict),
    .target(name: "HTTP2", dependencies: ["Base", "CNghttp2", nioCore], swiftSettings: strict),
    .target(
      name: "RPC",
      dependencies: [
        "Base", "Proto", "HTTP2", "Sockets", "CZlib", nioCore, nioPosix, nioHTTP1,
      ],
      swiftSettings: strict
    ),
    .target(
      name: "Log",
      dependencies: ["Base", "CSupport"],
      exclude: ["FORMAT.md"],
      swiftSettings: strict
    ),
    .target(name: "Storage", dependencies: ["Base", "CLMDB", "CSupport"], swiftSettings: strict),
    .target(
      name: "Raft",
      dependencies: ["Base", .product(name: "DequeModule", package: "swift-collections")],
      swiftSettings: strict
    ),
    .target(
      name: "MVCC",
      dependencies: ["Base", "Proto", "Storage", "CSupport"],
      swiftSettings: strict
    ),
    .target(
      name: "Membership",
      dependencies: ["Base", crypto],
      swiftSettings: strict
    ),
    .target(name: "MemberFiles", dependencies: ["Base", crypto], swiftSettings: strict),
    .target(name: "Lease", dependencies: ["Base", "Proto", "MVCC"], swiftSettings: strict),
    .target(name: "Auth", dependencies: ["Base", "Proto"], swiftSettings: strict),
    .target(
      name: "Watch",
      dependencies: ["Base", "Proto", "Storage", "MVCC"],
      swiftSettings: strict
    ),
    .target(
      name: "Replica",
      dependencies: [
        "Base", "Proto", "Raft", "MVCC", "Lease", "Auth", "Membership", "Log", "Storage",
      ],
      swiftSettings: strict
    ),
    .target(
      name: "TLS",
      dependencies: ["Base", nioCore, nioTLS, nioSSL, x509, asn1, crypto, logging],
      swiftSettings: strict
    ),
    .target(
      name: "Peer",
      dependencies: [
        "Base", "Proto", "RPC", "HTTP2", "Raft", "Membership", "Replica", "TLS", nioCore, nioPosix,
        logging,
      ],
      swiftSettings: strict
    ),
    .target(name: "Prometheus", dependencies: ["Base", metrics], swiftSettings: strict),
    .target(name: "JSONGateway", dependencies: ["Base", "Proto", "RPC"], swiftSettings: strict),
    .target(
      name: "MartletServer",
      dependencies: [
        "Base", "Flags", "Discovery", "Proto", "RPC", "TLS", "JSONGateway", "Prometheus", "Peer",
        "Replica", "Raft", "MVCC", "Lease", "Auth", "Watch", "Membership", "Log", "Storage",
        "MemberFiles", "CCrypt",
        nioCore, nioPosix, logging, metrics, tracing, crypto,
        .product(name: "JWTKit", package: "jwt-kit"),
        .product(name: "Yams", package: "Yams"),
      ],
      swiftSettings: strict
    ),

    .target(
      name: "MartletClient",
      dependencies: [
        "Base", "Discovery", "Proto", "RPC", "TLS", nioCore, nioPosix, logging, metrics, tracing,
      ],
      swiftSettings: strict
    ),

    // Beside a member: a TCP gateway, a proxy of the API
    .target(
      name: "Gateway",
      dependencies: [
        "Flags", "Discovery", "Sockets", "TLS", nioCore, nioPosix, nioTLS, logging,
      ],
      swiftSettings: strict + testable
    ),
    .target(
      name: "GRPCProxy",
      dependencies: [
        "Base", "Flags", "Discovery", "Proto", "HTTP2", "RPC", "TLS", "Prometheus", nioCore,
        nioPosix, logging,
      ],
      swiftSettings: strict + testable
    ),

    // What etcd leaves behind: its database file, and the way from and to it
    .target(name: "BoltFile", dependencies: ["Base"], swiftSettings: strict),
    .target(
      name: "Migration",
      dependencies: [
        "Base", "Proto", "BoltFile", "Storage", "MVCC", "Lease", "Auth", "Membership", "Log",
        "Raft", "MemberFiles", "Replica", crypto,
      ],
      swiftSettings: strict
    ),

    // Whole members on virtual time: for tests and martlet-sim
    .target(
      name: "Simulation",
      dependencies: [
        "Base", "Proto", "Raft", "MVCC", "Lease", "Watch", "Membership", "Log", "Storage",
        "Replica",
      ],
      swiftSettings: strict
    ),

    // Executables: flags, then one call
    .executableTarget(
      name: "martlet",
      dependencies: ["MartletServer", "Gateway", "GRPCProxy", "Sockets", nioPosix, logging],
      swiftSettings: strict
    ),
    .executableTarget(
      name: "martletctl",
      dependencies: [
        "MartletClient", "Base", "Proto", "Flags", "Terminal", "Discovery", logging,
      ],
      exclude: ["README.md"],
      swiftSettings: strict + testable
    ),
    .executableTarget(
      name: "martletutl",
      dependencies: [
        "Migration", "Base", "Proto", "Terminal",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: strict
    ),
    .executableTarget(
      name: "martlet-bench",
      dependencies: [
        "MartletClient", "Base", "Proto", "HTTP2", "RPC", "TLS", nioCore, nioPosix,
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Histogram", package: "hdrhistogram-swift"),
      ],
      swiftSettings: strict
    ),

    .executableTarget(
      name: "martlet-sim",
      dependencies: [
        "Simulation", .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: strict
    ),

    // Tests
    .testTarget(name: "BaseTests", dependencies: ["Base"], swiftSettings: strict),
    .testTarget(name: "ProtoTests", dependencies: ["Base", "Proto"], swiftSettings: strict),
    .testTarget(
      name: "HTTP2Tests",
      dependencies: ["Base", "HTTP2", nioCore, nioEmbedded],
      swiftSettings: strict
    ),
    .testTarget(
      name: "RPCTests",
      dependencies: ["Base", "Proto", "HTTP2", "RPC", nioCore, nioPosix],
      swiftSettings: strict
    ),
    .testTarget(
      name: "LogTests",
      dependencies: ["Base", "Log", "CSupport"],
      swiftSettings: strict
    ),
    .testTarget(name: "StorageTests", dependencies: ["Base", "Storage"], swiftSettings: strict),
    .testTarget(
      name: "RaftTests",
      dependencies: ["Base", "Raft"],
      exclude: ["testdata"],
      swiftSettings: strict
    ),
    .testTarget(
      name: "MVCCTests",
      dependencies: ["Base", "Proto", "Storage", "MVCC"],
      swiftSettings: strict
    ),
    .testTarget(
      name: "MembershipTests",
      dependencies: ["Base", "Membership"],
      swiftSettings: strict
    ),
    .testTarget(
      name: "LeaseTests",
      dependencies: ["Base", "Proto", "MVCC", "Lease"],
      swiftSettings: strict
    ),
    .testTarget(name: "AuthTests", dependencies: ["Base", "Proto", "Auth"], swiftSettings: strict),
    .testTarget(
      name: "WatchTests",
      dependencies: ["Base", "Proto", "Storage", "MVCC", "Watch"],
      swiftSettings: strict
    ),
    .testTarget(
      name: "ReplicaTests",
      dependencies: [
        "Base", "Proto", "Raft", "MVCC", "Lease", "Auth", "Membership", "Log", "Storage",
        "Replica",
      ],
      swiftSettings: strict
    ),
    .testTarget(
      name: "TLSTests",
      dependencies: ["Base", "TLS", nioCore, nioPosix, nioSSL, x509, asn1, crypto, logging],
      swiftSettings: strict
    ),
    .testTarget(
      name: "PeerTests",
      dependencies: [
        "Base", "Proto", "RPC", "Raft", "Membership", "Peer", nioCore, nioPosix, logging,
      ],
      swiftSettings: strict
    ),
    .testTarget(
      name: "PrometheusTests",
      dependencies: ["Base", "Prometheus", metrics],
      swiftSettings: strict
    ),
    .testTarget(
      name: "JSONGatewayTests",
      dependencies: ["Base", "Proto", "RPC", "JSONGateway"],
      swiftSettings: strict
    ),
    .testTarget(
      name: "MartletServerTests",
      dependencies: [
        "Base", "Flags", "Discovery", "Proto", "RPC", "TLS", "Peer", "Replica", "MVCC", "Lease",
        "Auth", "Watch", "Raft", "Storage", "Membership", crypto,
        "MemberFiles", "MartletServer", nioCore, nioPosix, nioSSL, logging, metrics, tracing,
        inMemoryTracing, metricsTestKit,
      ],
      swiftSettings: strict
    ),
    .testTarget(
      name: "MartletClientTests",
      dependencies: [
        "MartletClient", "MartletServer", nioCore, nioPosix, logging, metrics, tracing,
        inMemoryTracing, metricsTestKit,
      ],
      swiftSettings: strict
    ),
    .testTarget(
      name: "GatewayTests",
      dependencies: ["Discovery", "Gateway", "TLS", nioCore, nioPosix, logging],
      swiftSettings: strict
    ),
    .testTarget(
      name: "GRPCProxyTests",
      dependencies: [
        "Base", "Proto", "GRPCProxy",
      ],
      swiftSettings: strict
    ),
    .testTarget(
      name: "BoltFileTests",
      dependencies: ["Base", "BoltFile"],
      exclude: ["testdata"],
      swiftSettings: strict
    ),
    .testTarget(
      name: "MigrationTests",
      dependencies: [
        "Base", "Proto", "BoltFile", "Storage", "MVCC", "Migration", "Membership", "MemberFiles",
        "Replica", "Lease", "Auth", "Log", "Raft", crypto,
      ],
      swiftSettings: strict
    ),
    .testTarget(
      name: "MartletctlTests",
      dependencies: ["martletctl", "MartletClient", "Base", "Proto"],
      swiftSettings: strict
    ),
    .testTarget(name: "TerminalTests", dependencies: ["Terminal"], swiftSettings: strict),
    .testTarget(
      name: "SimulationTests",
      dependencies: ["Base", "Proto", "Simulation"],
      swiftSettings: strict
    ),
    .testTarget(name: "HouseTests", swiftSettings: strict),
  ]
)
