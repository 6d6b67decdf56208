import Base
import Peer
import Prometheus
import Synchronization

// What goes between this member and the others; nothing in a cluster of one.
extension MemberCollector {
  var peerFamilies: [MetricFamily] {
    let peers = member.peers.traffic
    let local = MetricLabel("Local", "\(member.memberID)")
    func family(
      _ definition: MetricCatalog.Definition,
      _ labels: (MemberID) -> [MetricLabel],
      _ value: (PeerTraffic) -> Int
    ) -> MetricFamily {
      MetricFamily(
        definition,
        peers.map { MetricSample(.number(Double(value($0.traffic))), labels($0.peer)) }
      )
    }
    func times(
      _ definition: MetricCatalog.Definition,
      _ labels: (MemberID) -> [MetricLabel],
      _ counts: (PeerTraffic) -> DurationCounts
    ) -> MetricFamily {
      MetricFamily(
        definition,
        peers.map { peer in
          let known = counts(peer.traffic).snapshot
          let snapshot = HistogramSnapshot(
            bounds: known.bounds,
            counts: known.counts,
            sum: known.sum
          )
          return MetricSample(.histogram(snapshot), labels(peer.peer))
        }
      )
    }
    let to: (MemberID) -> [MetricLabel] = { [MetricLabel("To", "\($0)")] }
    let from: (MemberID) -> [MetricLabel] = { [MetricLabel("From", "\($0)")] }
    let both: (MemberID) -> [MetricLabel] = { [local, MetricLabel("Remote", "\($0)")] }
    return [
      family(MetricCatalog.activePeers, both) { $0.isActive.load(ordering: .relaxed) ? 1 : 0 },
      family(MetricCatalog.disconnectedPeers, both) { $0.disconnects.load(ordering: .relaxed) },
      family(MetricCatalog.peerBytesSent, to) { $0.sentBytes.load(ordering: .relaxed) },
      family(MetricCatalog.peerBytesReceived, from) { $0.receivedBytes.load(ordering: .relaxed) },
      family(MetricCatalog.peerSendFailures, to) { $0.sendFailures.load(ordering: .relaxed) },
      family(MetricCatalog.peerReceiveFailures, from) {
        $0.receiveFailures.load(ordering: .relaxed)
      },
      times(MetricCatalog.peerRoundTrips, to) { $0.roundTrips },
      family(MetricCatalog.snapshotsSending, to) { $0.snapshotsSending.load(ordering: .relaxed) },
      family(MetricCatalog.snapshotsSent, to) { $0.snapshotsSent.load(ordering: .relaxed) },
      family(MetricCatalog.snapshotSendFailures, to) {
        $0.snapshotSendFailures.load(ordering: .relaxed)
      },
      times(MetricCatalog.snapshotSendTimes, to) { $0.snapshotSendTimes },
      family(MetricCatalog.snapshotsReceiving, from) {
        $0.snapshotsReceiving.load(ordering: .relaxed)
      },
      family(MetricCatalog.snapshotsReceived, from) {
        $0.snapshotsReceived.load(ordering: .relaxed)
      },
      family(MetricCatalog.snapshotReceiveFailures, from) {
        $0.snapshotReceiveFailures.load(ordering: .relaxed)
      },
      times(MetricCatalog.snapshotReceiveTimes, from) { $0.snapshotReceiveTimes },
    ]
  }
}
