import Proto
import Testing

struct DescriptorTests {
  @Test
  func messagesAreFoundByName() throws {
    for descriptor in MessageDescriptor.all {
      #expect(MessageDescriptor.named(descriptor.name) == descriptor)
    }
    #expect(MessageDescriptor.named("etcdserverpb.Nothing") == nil)
    #expect(MessageDescriptor.named("") == nil)
    #expect(Etcdserverpb.PutRequest.View.descriptor.name == "etcdserverpb.PutRequest")
  }

  @Test
  func fieldsSayWhatTranscodingNeeds() throws {
    let compare = try #require(MessageDescriptor.named("etcdserverpb.Compare"))
    #expect(compare.fields.map(\.number) == [1, 2, 3, 4, 5, 6, 7, 8, 64])
    let rangeEnd = try #require(compare.field(named: "range_end"))
    #expect(rangeEnd.jsonName == "rangeEnd" && rangeEnd.number == 64 && rangeEnd.oneof == nil)
    #expect(compare.field(named: "rangeEnd")?.number == 64)
    #expect(compare.field(named: "lease")?.oneof == 0)
    guard case .enum(let result)? = compare.field(named: "result")?.kind else {
      Issue.record("not an enum")
      return
    }
    #expect(result.name == "etcdserverpb.Compare.CompareResult")
    #expect(result.name(of: 3) == "NOT_EQUAL" && result.name(of: 4) == nil)
    #expect(result.number(of: "LESS") == 2 && result.number(of: "less") == nil)
    let member = try #require(MessageDescriptor.named("etcdserverpb.Member"))
    #expect(member.field(named: "ID")?.jsonName == "ID")
    #expect(member.field(named: "peerURLs")?.isRepeated == true)
    guard case .string? = member.field(named: "name")?.kind else {
      Issue.record("not a string")
      return
    }
    let op = try #require(MessageDescriptor.named("etcdserverpb.RequestOp"))
    guard case .message(let put)? = op.field(named: "requestPut")?.kind else {
      Issue.record("not a message")
      return
    }
    #expect(put.name == "etcdserverpb.PutRequest")
  }

  @Test
  func fieldsCanBeReadByOffset() throws {
    let descriptor = try #require(MessageDescriptor.named("etcdserverpb.PutRequest"))
    let lease = try #require(descriptor.field(named: "lease"))
    let arena = Arena()
    try Etcdserverpb.PutRequest(lease: 42).encoded().withUnsafeBytes { bytes in
      let message = try descriptor.decode(bytes, in: arena)
      #expect(message.load(fromByteOffset: lease.offset, as: Int64.self) == 42)
    }
  }

  @Test
  func servicesAndRoutes() {
    #expect(ServiceDescriptor.all.count == 12)
    #expect(ServiceDescriptor.kv.methods.map(\.name).first == "Range")
    let paths = ServiceDescriptor.all.flatMap { $0.methods.map(\.path) }
    #expect(Set(paths).count == paths.count && paths.contains("/etcdserverpb.Lease/LeaseKeepAlive"))
    let routes = ServiceDescriptor.all.flatMap { $0.methods.flatMap(\.jsonRoutes) }
    #expect(Set(routes).count == routes.count && routes.count == 51)
    #expect(routes.allSatisfy { $0.hasPrefix("/v3/") })
    let watch = ServiceDescriptor.watch.methods[0]
    #expect(watch.isClientStreaming && watch.isServerStreaming)
    #expect(watch.request.name == "etcdserverpb.WatchRequest")
    #expect(watch.response.name == "etcdserverpb.WatchResponse")
  }

  @Test
  func filesForReflection() throws {
    #expect(FileDescriptor.all.count == 13)
    for file in FileDescriptor.all {
      // name = 1 and dependency = 3 of google.protobuf.FileDescriptorProto.
      var scanner = WireScanner(file.bytes)
      var name = ""
      var dependencies: [String] = []
      while let field = try scanner.next() {
        guard case .content(let bytes) = field.value else { continue }
        if field.number == 1 { name = String(decoding: bytes, as: UTF8.self) }
        if field.number == 3 { dependencies.append(String(decoding: bytes, as: UTF8.self)) }
      }
      #expect(file.name == name)
      #expect(file.dependencies.map(\.name) == dependencies)
      #expect(FileDescriptor.named(name)?.name == name)
    }
    for service in ServiceDescriptor.all {
      let file = try #require(FileDescriptor.containing(symbol: service.name))
      for method in service.methods {
        let symbol = "\(service.name).\(method.name)"
        #expect(FileDescriptor.containing(symbol: symbol)?.name == file.name)
      }
    }
    for message in MessageDescriptor.all {
      let file = try #require(FileDescriptor.containing(symbol: message.name))
      for field in message.fields {
        #expect(
          FileDescriptor.containing(symbol: "\(message.name).\(field.name)")?.name == file.name
        )
      }
    }
    #expect(
      FileDescriptor.containing(symbol: "etcdserverpb.RangeRequest.SortOrder.ASCEND") == nil
    )
    #expect(
      FileDescriptor.containing(symbol: "etcdserverpb.RangeRequest.ASCEND")?.name == "rpc.proto"
    )
    #expect(FileDescriptor.containing(symbol: "etcdserverpb") == nil)
    #expect(FileDescriptor.containing(symbol: "") == nil)
    #expect(FileDescriptor.named("nothing.proto") == nil)
  }
}
