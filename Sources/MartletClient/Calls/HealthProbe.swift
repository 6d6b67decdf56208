import NIOCore
import Proto
import RPC

/// Asks an endpoint that failed how it is, again and again, until it can serve: no call is staked on
/// it meanwhile.
struct HealthProbe {
  let client: RPCClient
  let firstPause: Duration

  /// How long an answer may take.
  static let timeout = TimeAmount.seconds(2)

  /// Calls `healthy` and returns when the endpoint can serve, or the task is cancelled.
  func run(_ healthy: () -> Void) async {
    var pause = firstPause
    while (try? await Task.sleep(for: pause)) != nil {
      if await canServe() {
        if !Task.isCancelled { healthy() }
        return
      }
      pause = min(pause * 2, Endpoint.suspicionMax)
    }
  }

  /// A member that has a leader, or a server that lets us know no more.
  private func canServe() async -> Bool {
    let options = CallOptions(timeout: Self.timeout)
    do throws(RPCError) {
      let request = Etcdserverpb.StatusRequest()
      let status = try await MaintenanceClient(client).status(request, options: options)
      return status.leader != 0 && !status.isLearner
    } catch {
      return switch ClientError(error, .read, endpoint: nil).code {
      // It answers, though not to us.
      case .permissionDenied, .invalidAuthToken, .userNameEmpty, .authRevisionIsOld: true
      default: error.code == .unimplemented || error.code == .unauthenticated
      }
    }
  }
}
