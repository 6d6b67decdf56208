package import Proto

/// One method of a service, as clients name it.
package struct MethodInfo: Sendable {
  /// The path of its requests: `/etcdserverpb.KV/Put`.
  package let path: String
  package let requestStreaming: Bool
  package let responseStreaming: Bool

  package init(path: String, requestStreaming: Bool, responseStreaming: Bool) {
    self.path = path
    self.requestStreaming = requestStreaming
    self.responseStreaming = responseStreaming
  }
}

/// What hands the calls of one service to the code that answers them.
///
/// All functions run on the event loop of the `RPCServerLoop` that the dispatcher is registered
/// with. `method` is the method's place in `methods`.
package protocol ServiceDispatcher {
  static var methods: [MethodInfo] { get }

  /// A call of a method with a request stream has begun; not called for other methods, whose calls
  /// begin with `receive`.
  func start(_ method: Int, _ call: ServerCall)

  /// A whole request message has arrived. `message`, and what is decoded into `arena`, are valid
  /// only until this returns.
  func receive(
    _ method: Int,
    _ message: UnsafeRawBufferPointer,
    _ call: ServerCall,
    _ arena: Arena
  )

  /// The client has sent its last message; called for methods with a request stream only.
  func halfClose(_ method: Int, _ call: ServerCall)

  /// The call is over before it was answered: the client took it back, its connection is gone, its
  /// deadline passed or it broke the protocol. Called only after `start` or `receive`. Nothing that
  /// is sent to the call any more has an effect; its id is stale when this returns.
  func cancel(_ method: Int, _ call: ServerCall)
}

/// A message of a request, decoded in place. Valid only during the call that hands it over.
package struct IncomingMessage<View> {
  package let view: View
  /// The message as it came, still encoded.
  package let bytes: UnsafeRawBufferPointer

  @inlinable
  package init(view: View, bytes: UnsafeRawBufferPointer) {
    self.view = view
    self.bytes = bytes
  }
}

/// A dispatcher behind a class, so that calling it costs a table look-up and no box.
class ServiceBox {
  func start(_ method: Int, _ call: ServerCall) {}
  func receive(
    _ method: Int,
    _ message: UnsafeRawBufferPointer,
    _ call: ServerCall,
    _ arena: Arena
  ) {}
  func halfClose(_ method: Int, _ call: ServerCall) {}
  func cancel(_ method: Int, _ call: ServerCall) {}
}

final class DispatcherBox<Dispatcher: ServiceDispatcher>: ServiceBox {
  private let dispatcher: Dispatcher

  init(_ dispatcher: Dispatcher) {
    self.dispatcher = dispatcher
  }

  override func start(_ method: Int, _ call: ServerCall) {
    dispatcher.start(method, call)
  }

  override func receive(
    _ method: Int,
    _ message: UnsafeRawBufferPointer,
    _ call: ServerCall,
    _ arena: Arena
  ) {
    dispatcher.receive(method, message, call, arena)
  }

  override func halfClose(_ method: Int, _ call: ServerCall) {
    dispatcher.halfClose(method, call)
  }

  override func cancel(_ method: Int, _ call: ServerCall) {
    dispatcher.cancel(method, call)
  }
}
