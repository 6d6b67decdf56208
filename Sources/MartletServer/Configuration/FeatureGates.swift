import Flags

/// The switches of `--feature-gates`, by etcd's names.
enum FeatureGates {
  static let names = [
    "AllAlpha", "AllBeta", "CompactHashCheck", "FastLeaseKeepAlive", "InitialCorruptCheck",
    "LeaseCheckpoint", "LeaseCheckpointPersist", "PriorityRequest", "SetMemberLocalAddr",
    "StopGRPCServiceOnDefrag", "TxnModeWriteWithSharedBuffer",
  ]

  /// Refuses what is not `Name=true` or `Name=false` with a known name.
  static func check(_ gates: [String]) throws(ConfigurationError) {
    for gate in gates {
      let parts = gate.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        .map(String.init)
      guard parts.count == 2, GoValue.bool(parts[1]) != nil else {
        throw .invalid("--feature-gates: expected Name=true or Name=false, found \(gate).")
      }
      guard names.contains(parts[0]) else {
        let hint = NearestName.hint(for: parts[0], among: names)
        throw .invalid("--feature-gates: there is no gate \(parts[0].debugDescription).\(hint)")
      }
    }
  }
}
