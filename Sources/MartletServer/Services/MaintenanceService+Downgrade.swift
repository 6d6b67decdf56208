import Base
import Proto
import RPC
import Replica

// Downgrades: the checks before, and the note that one is under way.
extension StoreMaintenanceService {
  /// A downgrade goes back by one minor version. While one is noted, `Status` says so, and members
  /// of the older version may take the place of this one's; nothing else changes here.
  func downgrade(
    _ request: IncomingMessage<Etcdserverpb.DowngradeRequest.View>,
    _ call: ServerCall
  ) {
    let version = Array(request.view.version)
    switch request.view.action {
    case .validate, .enable:
      let target: ClusterVersion
      do throws(RequestError) {
        target = try validate(version)
      } catch {
        return call.finish(RPCStatus(error))
      }
      guard request.view.action == .enable else {
        var response = Etcdserverpb.DowngradeResponse()
        response.header = loop.shared.responseHeader
        response.version = Version.cluster
        return respond(call, response)
      }
      propose(DowngradeJob(targetVersion: "\(target).0"), call)
    case .cancel:
      guard loop.shared.status.downgrade != nil else {
        return call.finish(RPCStatus(.noDowngrade))
      }
      propose(nil, call)
    default:
      call.finish(RPCStatus(.unknown, "etcdserver: unknown method"))
    }
  }

  private func validate(_ version: [UInt8]) throws(RequestError) -> ClusterVersion {
    guard let target = ClusterVersion(String(decoding: version, as: UTF8.self)) else {
      throw .downgradeVersionFormat
    }
    if loop.shared.status.downgrade != nil { throw .downgradeInProgress }
    guard let own = ClusterVersion(Version.cluster), target.isOneMinorBelow(own) else {
      throw .downgradeTargetInvalid
    }
    return target
  }

  private func propose(_ job: DowngradeJob?, _ call: ServerCall) {
    DowngradeJob.encoded(job).withUnsafeBytes { loop.propose(.downgradeInfoSet, $0, call) }
  }
}
