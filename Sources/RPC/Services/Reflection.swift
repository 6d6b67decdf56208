import Base
import Proto

/// Server reflection: tells tools such as grpcurl which services there are, and hands out their
/// descriptors. The messages of v1 and v1alpha have the same form on the wire, so one code answers
/// both.
package final class Reflection {
  private unowned let loop: RPCServerLoop

  private init(_ loop: RPCServerLoop) {
    self.loop = loop
  }

  /// Registers both versions with a loop; on that loop. Lists what is registered when it is asked.
  package static func register(on loop: RPCServerLoop) {
    let reflection = Reflection(loop)
    loop.register(ReflectionV1(reflection: reflection))
    loop.register(ReflectionV1alpha(reflection: reflection))
  }

  fileprivate func receive(_ message: UnsafeRawBufferPointer, _ call: ServerCall) {
    do {
      let request = try GrpcReflectionV1.ServerReflectionRequest(decoding: message)
      let response = GrpcReflectionV1.ServerReflectionResponse(
        validHost: request.host,
        originalRequest: request,
        messageResponse: answer(request.messageRequest)
      )
      call.send { response.encode(into: &$0) }
    } catch {
      call.finish(.malformedRequest(error))
    }
  }

  private func answer(
    _ request: GrpcReflectionV1.ServerReflectionRequest.MessageRequest?
  ) -> GrpcReflectionV1.ServerReflectionResponse.MessageResponse {
    switch request {
    case .fileByFilename(let name):
      Self.files(FileDescriptor.named(name), else: "file not found: \(name)")
    case .fileContainingSymbol(let symbol):
      Self.files(FileDescriptor.containing(symbol: symbol), else: "symbol not found: \(symbol)")
    case .fileContainingExtension(let query):
      Self.notFound(
        "extension not found: \(query.containingType) \(query.extensionNumber)"
      )
    case .allExtensionNumbersOfType(let name):
      Self.notFound("no extensions of \(name)")
    case .listServices:
      .listServicesResponse(
        GrpcReflectionV1.ListServiceResponse(
          service: loop.services.map { GrpcReflectionV1.ServiceResponse(name: $0) }
        )
      )
    case nil:
      .errorResponse(
        GrpcReflectionV1.ErrorResponse(
          errorCode: Int32(RPCCode.invalidArgument.rawValue),
          errorMessage: "invalid request"
        )
      )
    }
  }

  /// A file and all that it imports.
  private static func files(
    _ file: FileDescriptor?,
    else text: String
  ) -> GrpcReflectionV1.ServerReflectionResponse.MessageResponse {
    guard let file else { return notFound(text) }
    var seen: Set<String> = [file.name]
    var queue = [file]
    var next = 0
    while next < queue.count {
      for dependency in queue[next].dependencies where seen.insert(dependency.name).inserted {
        queue.append(dependency)
      }
      next += 1
    }
    return .fileDescriptorResponse(
      GrpcReflectionV1.FileDescriptorResponse(
        fileDescriptorProto: queue.map { [UInt8]($0.bytes) }
      )
    )
  }

  private static func notFound(
    _ text: String
  ) -> GrpcReflectionV1.ServerReflectionResponse.MessageResponse {
    .errorResponse(
      GrpcReflectionV1.ErrorResponse(
        errorCode: Int32(RPCCode.notFound.rawValue),
        errorMessage: text
      )
    )
  }
}

/// The part of a reflection dispatcher that does not depend on the version.
private protocol ReflectionDispatcher: ServiceDispatcher {
  var reflection: Reflection { get }
}

extension ReflectionDispatcher {
  package func start(_ method: Int, _ call: ServerCall) {}

  package func receive(
    _ method: Int,
    _ message: UnsafeRawBufferPointer,
    _ call: ServerCall,
    _ arena: Arena
  ) {
    reflection.receive(message, call)
  }

  package func halfClose(_ method: Int, _ call: ServerCall) {
    call.finish(.ok)
  }

  package func cancel(_ method: Int, _ call: ServerCall) {}
}

private struct ReflectionV1: ReflectionDispatcher {
  let reflection: Reflection
  static let methods = ServerReflectionDispatcher.methods
}

private struct ReflectionV1alpha: ReflectionDispatcher {
  let reflection: Reflection
  static let methods = ServerReflectionV1alphaDispatcher.methods
}
