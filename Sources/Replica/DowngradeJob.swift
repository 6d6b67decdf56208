package import Proto

/// A downgrade of the cluster that was asked for and not cancelled: which version its members are
/// to be replaced by.
package struct DowngradeJob: Sendable, Equatable {
  /// As `3.5.0`.
  package var targetVersion: String

  /// Where the store keeps the job.
  package static let metadataKey = "replica.downgrade"

  package init(targetVersion: String) {
    self.targetVersion = targetVersion
  }

  /// A job, or that there is none, as a `DowngradeInfoSetRequest`.
  package static func encoded(_ job: DowngradeJob?) -> [UInt8] {
    message(job).encoded()
  }

  package static func message(_ job: DowngradeJob?) -> Membershippb.DowngradeInfoSetRequest {
    Membershippb.DowngradeInfoSetRequest(enabled: job != nil, ver: job?.targetVersion ?? "")
  }

  /// Reads what `encoded` wrote.
  package static func decode(_ bytes: [UInt8]) throws(DecodeError) -> DowngradeJob? {
    job(try Membershippb.DowngradeInfoSetRequest(decoding: bytes))
  }

  static func job(_ message: Membershippb.DowngradeInfoSetRequest) -> DowngradeJob? {
    message.enabled ? DowngradeJob(targetVersion: message.ver) : nil
  }
}
