import Synchronization

/// How much the gateway does at a time.
package struct GatewayLimits: Sendable {
  /// Calls under way, streams among them.
  package var callsMax = 8192
  /// Bytes of request bodies being worked on, all calls together.
  package var bodyBytesMax = 128 << 20
  /// Bytes of a message that arrives in a request that is a stream.
  package var arrivingBytesMax = 4 << 20

  package init() {}
}

/// Counts what is under way and refuses more than the limits. Thread-safe.
final class GatewayLoad: Sendable {
  private struct State {
    var calls = 0
    var bodyBytes = 0
  }

  private let limits: GatewayLimits
  private let state = Mutex(State())

  init(_ limits: GatewayLimits) {
    self.limits = limits
  }

  /// A share of the limits, given back when it goes away; nil when there is none left.
  func admit(bodyBytes: Int) -> Share? {
    let isAdmitted = state.withLock { state in
      guard state.calls < limits.callsMax,
        state.bodyBytes + bodyBytes <= limits.bodyBytesMax
      else { return false }
      state.calls += 1
      state.bodyBytes += bodyBytes
      return true
    }
    return isAdmitted ? Share(load: self, bodyBytes: bodyBytes) : nil
  }

  final class Share: Sendable {
    private let load: GatewayLoad
    private let bodyBytes: Mutex<Int>

    fileprivate init(load: GatewayLoad, bodyBytes: Int) {
      self.load = load
      self.bodyBytes = Mutex(bodyBytes)
    }

    /// Changes the share to what is held now. False, and nothing changes, when that is too much.
    func hold(bodyBytes count: Int) -> Bool {
      guard count <= load.limits.arrivingBytesMax else { return false }
      return bodyBytes.withLock { held in
        let isGranted = load.state.withLock { state in
          let sum = state.bodyBytes - held + count
          guard count <= held || sum <= load.limits.bodyBytesMax else { return false }
          state.bodyBytes = sum
          return true
        }
        if isGranted { held = count }
        return isGranted
      }
    }

    deinit {
      let held = bodyBytes.withLock { $0 }
      load.state.withLock { state in
        state.calls -= 1
        state.bodyBytes -= held
      }
    }
  }
}
