import Base
import MVCC
import NIOCore
import RPC
import Watch

/// Sends a hub's responses on their calls, and says when a call has enough for now: when its own
/// buffer is full, or when it has its share of what all watch streams of the loop may have waiting.
final class WatchCallOutput: WatchOutput {
  private let loop: RequestLoop
  /// Called on the event loop when a call, of which the hub asked that, takes more again.
  var becameWritable: (CallID) -> Void = { _ in }
  /// How many streams share the bound.
  var streamCount = 0
  /// Calls that had their share and were not full: nobody says when these have less.
  private var waiting: [CallID] = []
  private var isLookScheduled = false

  /// Bytes that may wait for the clients of all watch streams of a loop together; a response that
  /// was begun may exceed it.
  static let bufferedBytesMax = 256 << 20
  private static let lookPause = TimeAmount.milliseconds(10)

  init(loop: RequestLoop) {
    self.loop = loop
  }

  var header: ResponseHeader { loop.header }

  /// Bytes that may wait for the client of one stream.
  private var share: Int { Self.bufferedBytesMax / max(streamCount, 1) }

  func isWritable(_ stream: UInt64) -> Bool {
    guard let call = loop.calls.call(CallID(rawValue: stream)) else { return false }
    return takesMore(call)
  }

  private func takesMore(_ call: ServerCall) -> Bool {
    call.isWritable && (streamCount <= Self.unsharedStreams || call.bufferedBytes < share)
  }

  /// So many streams can be full by themselves and stay within the bound.
  private static let unsharedStreams = 1024

  func notifyWhenWritable(_ stream: UInt64) {
    guard let call = loop.calls.call(CallID(rawValue: stream)) else { return }
    if call.isWritable {
      waiting.append(call.id)
      scheduleLook()
      return
    }
    call.whenWritable { [loop, self] call in
      let id = call.id
      // Later: the connection is in the middle of writing.
      nonisolated(unsafe) let output = self
      loop.eventLoop.execute { output.becameWritable(id) }
    }
  }

  private func scheduleLook() {
    guard !isLookScheduled else { return }
    isLookScheduled = true
    nonisolated(unsafe) let output = self
    loop.eventLoop.scheduleTask(in: Self.lookPause) { output.look() }
  }

  /// Looks which of those that had their share have less by now.
  private func look() {
    isLookScheduled = false
    let calls = waiting
    waiting = []
    for id in calls {
      guard let call = loop.calls.call(id) else { continue }
      if takesMore(call) {
        becameWritable(id)
      } else {
        notifyWhenWritable(id.rawValue)
      }
    }
  }

  func send(
    _ stream: UInt64,
    _ head: UnsafeRawBufferPointer,
    _ body: UnsafeRawBufferPointer
  ) {
    loop.calls.call(CallID(rawValue: stream))?.send { writer in
      writer.append(head)
      writer.append(body)
    }
  }

  func send(_ stream: UInt64, _ head: UnsafeRawBufferPointer, shared body: SharedBytes) {
    loop.calls.call(CallID(rawValue: stream))?.send(head: head, body: body)
  }
}
