import HTTP2
import NIOCore

// Deadlines, and requests that never arrive in full.
extension RPCServerLoop {
  /// How many looks per arrival timeout are taken for requests that are late.
  private static let sweepsPerTimeout: Int64 = 4

  /// Sets the timer for a slot's deadline.
  func startDeadline(_ slot: CallSlot) {
    wheel.insert(slot.index, deadline: slot.deadline)
    // Armed for an earlier time already: that wake arms the next.
    if slot.deadline < armedWake { arm() }
  }

  private func arm() {
    guard let wake = wheel.nextWake, wake < armedWake else { return }
    wakeTask?.cancel()
    armedWake = wake
    wakeTask = eventLoop.scheduleTask(deadline: .uptimeNanoseconds(wake)) { self.wake() }
  }

  private func wake() {
    armedWake = .max
    wakeTask = nil
    var expired: [Int] = []
    wheel.expire(now: NIODeadline.now().uptimeNanoseconds, into: &expired)
    // Ending one call may end others and reuse their slots, so each is asked for by its id.
    let ids = expired.map { slots[$0].id }
    for id in ids {
      guard let slot = knownSlot(id) else { continue }
      abort(slot, .deadlineExceeded)
    }
    arm()
    flush()
  }

  /// Starts to look, every now and then, for requests that are late.
  func startSweep() {
    guard sweepTask == nil else { return }
    let pause = TimeAmount.nanoseconds(
      max(1_000_000, configuration.requestArrivalTimeout.nanoseconds / Self.sweepsPerTimeout)
    )
    sweepTask = eventLoop.scheduleRepeatedTask(initialDelay: pause, delay: pause) { [weak self] _ in
      self?.sweep()
    }
  }

  private func sweep() {
    let timeout = UInt64(configuration.requestArrivalTimeout.nanoseconds)
    let now = NIODeadline.now().uptimeNanoseconds
    for slot in slots where slot.startTime + timeout < now {
      switch slot.phase {
      case .headers, .httpBody:
        dropLate(slot)
      case .call where !slot.hasMessage && !methods[slot.method].info.requestStreaming:
        abort(slot, RPCStatus(.deadlineExceeded, "request did not arrive in full in time"))
      default:
        break
      }
    }
    flush()
  }

  private func dropLate(_ slot: CallSlot) {
    guard let connection = slot.connection, let stream = slot.stream else { return }
    closeSlot(slot)
    connection.http2?.reset(stream, errorCode: ServerConnection.cancelCode)
    touch(connection)
  }

  /// Stops all timers. The loop serves no more calls after that.
  func stopTimers() {
    wakeTask?.cancel()
    wakeTask = nil
    sweepTask?.cancel()
    sweepTask = nil
  }
}
