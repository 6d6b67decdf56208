import Prometheus

// Traffic between members.
extension MetricCatalog {
  static let activePeers = peer("active_peers", .gauge, "1 while the peer is connected, else 0.")
  static let disconnectedPeers = peer(
    "disconnected_peers_total",
    .counter,
    "How often the connection with the peer was lost."
  )
  static let peerBytesSent = peer(
    "peer_sent_bytes_total",
    .counter,
    "Bytes of messages and snapshots sent to the peer."
  )
  static let peerBytesReceived = peer(
    "peer_received_bytes_total",
    .counter,
    "Bytes of messages and snapshots received from the peer."
  )
  static let peerSendFailures = peer(
    "peer_sent_failures_total",
    .counter,
    "Messages to the peer that were dropped before they left."
  )
  static let peerReceiveFailures = peer(
    "peer_received_failures_total",
    .counter,
    "Messages of the peer that could not be read or were dropped."
  )
  static let peerRoundTrips = Definition(
    "etcd_network_peer_round_trip_time_seconds",
    .histogram,
    "Time that a short question to the peer took, asked every three seconds.",
    bounds: doubling(from: 0.0001, count: 16)
  )
  static let snapshotsSending = peer(
    "snapshot_send_inflights_total",
    .gauge,
    "Snapshots on their way to the peer."
  )
  static let snapshotsSent = peer(
    "snapshot_send_success",
    .counter,
    "Snapshots that the peer has taken."
  )
  static let snapshotSendFailures = peer(
    "snapshot_send_failures",
    .counter,
    "Snapshots that did not reach the peer."
  )
  static let snapshotSendTimes = Definition(
    "etcd_network_snapshot_send_total_duration_seconds",
    .histogram,
    "Time from a snapshot's first byte to its verification by the peer.",
    bounds: doubling(from: 0.1, count: 10)
  )
  static let snapshotsReceiving = peer(
    "snapshot_receive_inflights_total",
    .gauge,
    "Snapshots that come in from the peer."
  )
  static let snapshotsReceived = peer(
    "snapshot_receive_success",
    .counter,
    "Snapshots of the peer that were taken."
  )
  static let snapshotReceiveFailures = peer(
    "snapshot_receive_failures",
    .counter,
    "Snapshots of the peer that broke off or were refused."
  )
  static let snapshotReceiveTimes = Definition(
    "etcd_network_snapshot_receive_total_duration_seconds",
    .histogram,
    "Time from a snapshot's first byte to its verification.",
    bounds: doubling(from: 0.1, count: 10)
  )

  private static func peer(
    _ name: String,
    _ kind: Definition.Kind,
    _ help: String
  ) -> Definition {
    Definition("etcd_network_\(name)", kind, help)
  }
}
