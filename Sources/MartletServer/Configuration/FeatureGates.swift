import Flags

/// The switches of `--feature-gates`, by etcd's names.
enum FeatureGates {
  static let names = [
    "AllAlpha", "AllBeta", "CompactHashCheck", "FastLeaseKeepAlive", "InitialCorruptCheck",
    "LeaseCheckpoint", "LeaseCheckpointPersist", "PriorityRequest", "SetMemberLocalAddr",
    "StopGRPCServiceOnDefrag", "TxnModeWriteWithSharedBuffer",
  ]

  static let initialCorruptCheck = "InitialCorruptCheck"
  static let compactHashCheck = "CompactHashCheck"

  /// Whether a gate is on; the last word on it counts.
  static func isOn(_ name: String, in gates: [String]) -> Bool {
    values(gates).last { $0.name == name }?.isOn ?? false
  }

  /// The gates that are on and change nothing here, and why.
  static func withoutEffect(_ gates: [String]) -> [(gate: String, why: String)] {
    names.compactMap { name in
      guard isOn(name, in: gates), let why = reasons[name] else { return nil }
      return (name, why)
    }
  }

  private static let reasons = [
    "AllAlpha": "gates are named one by one here",
    "AllBeta": "gates are named one by one here",
    "FastLeaseKeepAlive": "keep-alives never wait here for what is being applied",
    "LeaseCheckpoint": "leases are always checkpointed",
    "LeaseCheckpointPersist": "checkpoints are always kept",
    "PriorityRequest": "what must not wait goes first in any case",
    "SetMemberLocalAddr": "the system chooses the address that connections come from",
    "StopGRPCServiceOnDefrag": "a defragmentation does not stop calls",
    "TxnModeWriteWithSharedBuffer": "there is no such buffer",
  ]

  private static func values(_ gates: [String]) -> [(name: String, isOn: Bool)] {
    gates.compactMap { gate in
      let parts = gate.split(separator: "=", maxSplits: 1).map(String.init)
      guard parts.count == 2, let value = GoValue.bool(parts[1]) else { return nil }
      return (parts[0], value)
    }
  }

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
