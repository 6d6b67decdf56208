import Base
package import HTTP2
import Proto

// The body of a request.
extension ServerConnection {
  package func dataReceived(_ stream: HTTP2Stream, _ bytes: UnsafeRawBufferPointer) {
    guard stream.tag > 0 else {
      http2?.consume(stream, bytes.count)
      return
    }
    let slot = loop.slots[stream.tag - 1]
    let id = slot.id
    switch slot.phase {
    case .call:
      loop.enterTurn()
      takeData(slot, bytes)
    case .httpBody:
      slot.http?.take(bytes)
    case .httpAnswer:
      if let request = slot.http, let arriving = request.arriving {
        request.unreadBytes += bytes.count
        arriving.append(Array(bytes))
        return
      }
    case .free, .headers, .ending:
      break
    }
    // While the client does not read what we send, it may send no more than its window.
    if slot.id == id, slot.sentHeaders, !stream.isWritable {
      slot.heldCreditBytes += bytes.count
    } else {
      http2?.consume(stream, bytes.count)
    }
  }

  private func takeData(_ slot: CallSlot, _ bytes: UnsafeRawBufferPointer) {
    var data = bytes
    let id = slot.id
    let heldBefore = slot.reader.heldBytes
    let messageBytesMax = loop.configuration.messageBytesMax
    loop.deliveringSlot = slot.index
    defer { loop.deliveringSlot = -1 }
    reading: while true {
      switch slot.reader.next(from: &data, messageBytesMax: messageBytesMax) {
      case .message(let message, let isCompressed):
        // What was held up to now is no longer an unfinished message.
        deliver(slot, message, isCompressed: isCompressed, isLast: data.count == 0)
        guard slot.id == id else {
          slot.reader.reset()
          partialBytes -= heldBefore
          return
        }
      case .needsMore:
        break reading
      case .failure(let status):
        partialBytes += slot.reader.heldBytes - heldBefore
        loop.abort(slot, status)
        slot.reader.reset()
        return
      }
    }
    partialBytes += slot.reader.heldBytes - heldBefore
    if partialBytes > loop.configuration.partialBytesPerConnectionMax {
      loop.abort(slot, .resourceExhausted("grpc: too many unfinished messages on a connection"))
      slot.reader.reset()
    }
  }

  private func deliver(
    _ slot: CallSlot,
    _ message: UnsafeRawBufferPointer,
    isCompressed: Bool,
    isLast: Bool
  ) {
    let method = loop.methods[slot.method]
    if !method.info.requestStreaming, slot.hasMessage || !isLast {
      loop.abort(
        slot,
        .internal(
          "cardinality violation: received multiple request messages for non-client-streaming RPC"
        )
      )
      return
    }
    loop.tally.countReceived(slot.method, bytes: message.count + MessageReader.prefixBytes)
    if isCompressed {
      deliverCompressed(slot, message)
      return
    }
    hand(slot, method, message)
  }

  private func deliverCompressed(_ slot: CallSlot, _ message: UnsafeRawBufferPointer) {
    switch slot.encoding {
    case .identity, .unknown:
      loop.abort(slot, .internal("grpc: compressed flag set with identity or empty encoding"))
    case .gzip:
      let max = loop.configuration.messageBytesMax
      loop.inflated.removeAll()
      do {
        try loop.gzip.decompress(message, into: &loop.inflated, contentBytesMax: max)
      } catch {
        loop.abort(
          slot,
          error == .tooLarge
            ? .resourceExhausted(
              "grpc: received message after decompression larger than max \(max)"
            )
            : .internal("grpc: failed to decompress the received message")
        )
        return
      }
      hand(slot, loop.methods[slot.method], loop.inflated.bytes)
      if loop.inflated.count > MessageReader.keptBytesMax { loop.inflated = ByteWriter() }
    }
  }

  private func hand(
    _ slot: CallSlot,
    _ method: RPCServerLoop.Method,
    _ message: UnsafeRawBufferPointer
  ) {
    if !slot.isDispatched && isRefused(slot) { return }
    slot.isDispatched = true
    slot.hasMessage = true
    slot.requestBytes = message.count
    method.service.receive(
      method.number,
      message,
      ServerCall(loop: loop, id: slot.id),
      loop.arena
    )
    loop.arena.reset()
  }

  /// Ends a call that may not begin.
  func isRefused(_ slot: CallSlot) -> Bool {
    guard let gate = loop.gate,
      let status = gate(slot.method, ServerCall(loop: loop, id: slot.id))
    else { return false }
    loop.end(slot, status)
    return true
  }

  package func endOfStream(_ stream: HTTP2Stream) {
    guard stream.tag > 0 else { return }
    let slot = loop.slots[stream.tag - 1]
    switch slot.phase {
    case .call:
      endCallRequest(slot)
    case .httpBody:
      answerPlain(slot)
    case .httpAnswer:
      slot.http?.arriving?.end()
    case .free, .headers, .ending:
      break
    }
  }

  private func endCallRequest(_ slot: CallSlot) {
    slot.isHalfClosed = true
    let method = loop.methods[slot.method]
    if slot.reader.heldBytes > 0 {
      loop.abort(slot, .internal("unexpected EOF"))
    } else if method.info.requestStreaming {
      method.service.halfClose(method.number, ServerCall(loop: loop, id: slot.id))
    } else if !slot.hasMessage {
      loop.abort(
        slot,
        .internal(
          "cardinality violation: received no request message from non-client-streaming RPC"
        )
      )
    }
  }
}
