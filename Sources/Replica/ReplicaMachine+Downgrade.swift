import Base
import MVCC
import Proto

// What the log says about downgrades.
extension ReplicaMachine {
  func applyDowngrade(_ request: InternalRequest, header: ResponseHeader) {
    guard
      let message = try? Membershippb.DowngradeInfoSetRequest(decoding: request.request)
    else { return }
    let job = DowngradeJob.job(message)
    reply(to: request.handle) { (reply: inout ByteWriter) throws(RequestError) in
      // Whoever asked has looked, but another's request may have come between.
      if job != nil && downgrade != nil { throw .downgradeInProgress }
      if job == nil && downgrade == nil { throw .noDowngrade }
      downgrade = job
      header.write(revision: store.appliedRevision, into: &reply)
      Etcdserverpb.DowngradeResponse(version: configuration.clusterVersion).encode(into: &reply)
    }
  }
}
