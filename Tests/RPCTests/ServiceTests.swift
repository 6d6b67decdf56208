import Proto
import RPC
import Testing

/// The services that the RPC layer brings along.
@Suite struct ServiceTests {
  @Test func healthCheck() async throws {
    let health = HealthStatus()
    health.set(.notServing, service: "etcdserverpb.KV")
    try await withServer(health: health) { fixture in
      let client = HealthClient(fixture.client)
      let server = try await client.check(.init()).status
      #expect(server == .serving)
      let named = try await client.check(.init(service: "etcdserverpb.KV")).status
      #expect(named == .notServing)
      let error = await #expect(throws: RPCError.self) {
        try await client.check(.init(service: "none"))
      }
      #expect(error?.status == .notFound("unknown service"))
      health.setAll(.notServing)
      let serverAfter = try await client.check(.init()).status
      #expect(serverAfter == .notServing)
    }
  }

  @Test func healthWatch() async throws {
    let health = HealthStatus()
    try await withServer(health: health) { fixture in
      let client = HealthClient(fixture.client)
      let whole = try await client.watch(.init())
      let unknown = try await client.watch(.init(service: "later"))
      var wholes = whole.makeAsyncIterator()
      var unknowns = unknown.makeAsyncIterator()
      let firstWhole = try await wholes.next()?.status
      #expect(firstWhole == .serving)
      let firstUnknown = try await unknowns.next()?.status
      #expect(firstUnknown == .serviceUnknown)
      health.set(.serving, service: "later")
      let nextUnknown = try await unknowns.next()?.status
      #expect(nextUnknown == .serving)
      health.set(.notServing)
      let nextWhole = try await wholes.next()?.status
      #expect(nextWhole == .notServing)
    }
  }

  @Test(arguments: [1, 2])
  func reflection(version: Int) async throws {
    try await withServer { fixture in
      // v1 and v1alpha have the same messages on the wire.
      let path =
        version == 1
        ? MethodPath("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
        : MethodPath("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
      let call = try await fixture.client.bidirectional(
        path,
        request: GrpcReflectionV1.ServerReflectionRequest.self,
        response: GrpcReflectionV1.ServerReflectionResponse.self
      )
      var responses = call.responses.makeAsyncIterator()

      await call.send(.init(messageRequest: .listServices("")))
      guard case .listServicesResponse(let list) = try await responses.next()?.messageResponse
      else {
        Issue.record("no list")
        return
      }
      #expect(
        list.service.map(\.name) == [
          "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
          "grpc.reflection.v1alpha.ServerReflection", "test.Echo",
        ]
      )

      await call.send(.init(messageRequest: .fileContainingSymbol("etcdserverpb.KV")))
      let bySymbol = try await responses.next()
      #expect(bySymbol?.originalRequest?.messageRequest == .fileContainingSymbol("etcdserverpb.KV"))
      let files = Self.files(bySymbol)
      // The file itself comes first, then all that it imports.
      let rpc = try #require(FileDescriptor.containing(symbol: "etcdserverpb.KV"))
      #expect(files.first == [UInt8](rpc.bytes))
      #expect(files.count > rpc.dependencies.count)

      await call.send(.init(messageRequest: .fileByFilename(rpc.name)))
      #expect(Self.files(try await responses.next()) == files)

      let misses: [GrpcReflectionV1.ServerReflectionRequest.MessageRequest] = [
        .fileByFilename("none.proto"), .fileContainingSymbol("none"),
        .fileContainingExtension(.init(containingType: "a", extensionNumber: 1)),
        .allExtensionNumbersOfType("a"),
      ]
      for miss in misses {
        await call.send(.init(messageRequest: miss))
        guard case .errorResponse(let error) = try await responses.next()?.messageResponse else {
          Issue.record("no error for \(miss)")
          return
        }
        #expect(error.errorCode == 5)
      }
      call.finishSending()
      let lastValue = try await responses.next()
      #expect(lastValue == nil)
    }
  }

  static func files(_ response: GrpcReflectionV1.ServerReflectionResponse?) -> [[UInt8]] {
    guard case .fileDescriptorResponse(let files) = response?.messageResponse else { return [] }
    return files.fileDescriptorProto
  }
}
