import Base
import Logging
import MVCC
import Proto
import Raft
import Replica

/// Runs the automatic compactor of `--auto-compaction-mode` and `-retention` against a member.
final class AutoCompaction: Sendable {
  private let task: Task<Void, Never>

  init(_ policy: AutoCompactor.Policy, member: MemberContext) {
    task = Task {
      var compactor = AutoCompactor(
        policy: policy,
        now: MonotonicTime.now.nanoseconds,
        revision: member.store.currentRevision
      )
      while !Task.isCancelled {
        let now = MonotonicTime.now.nanoseconds
        let wait = compactor.nextCheck > now ? compactor.nextCheck - now : 0
        try? await Task.sleep(for: .nanoseconds(Int64(clamping: wait)))
        if Task.isCancelled { return }
        member.status.current.role == .leader ? compactor.resume() : compactor.pause()
        let revision = compactor.tick(
          now: MonotonicTime.now.nanoseconds,
          revision: member.store.currentRevision
        )
        if let revision {
          let succeeded = Self.compact(revision, member)
          compactor.finished(
            at: revision,
            succeeded: succeeded,
            now: MonotonicTime.now.nanoseconds
          )
        }
      }
    }
  }

  func cancel() {
    task.cancel()
  }

  /// Proposes the compaction. One that is compacted already is refused where it is applied, which
  /// is as good.
  private static func compact(_ revision: Revision, _ member: MemberContext) -> Bool {
    member.logger.info("automatic compaction", metadata: ["revision": "\(revision)"])
    return member.proposeOwn(
      .compaction,
      Etcdserverpb.CompactionRequest(revision: revision.rawValue)
    )
  }
}
