import Proto

/// How far a watch has come: takes in what members send, and lets every event through once.
///
/// A value without I/O. Members send events in the order of revisions; a large response comes in
/// fragments, which may cut a revision in two.
struct WatchPosition {
  /// The first revision that is wanted next; 0 before the server said what "now" is.
  private(set) var nextRevision: Int64
  /// Events of the last revision of a fragment: more of it may follow.
  private var held: [Mvccpb.Event] = []

  init(startRevision: Int64) {
    nextRevision = startRevision
  }

  /// The watch was created when the store was at `revision`.
  mutating func created(at revision: Int64) {
    held = []
    if nextRevision == 0 { nextRevision = revision + 1 }
  }

  /// The member has sent everything up to `revision`. False when that is nothing new.
  mutating func told(upTo revision: Int64) -> Bool {
    guard held.isEmpty, revision >= nextRevision else { return false }
    nextRevision = revision + 1
    return true
  }

  /// What of a response is new: whole revisions, and the last of them; nil nothing to tell. No events
  /// when it only tells progress.
  mutating func take(
    _ response: Etcdserverpb.WatchResponse
  ) -> (events: [Mvccpb.Event], revision: Int64)? {
    if response.events.isEmpty, !response.fragment, held.isEmpty {
      let revision = response.header?.revision ?? 0
      return told(upTo: revision) ? ([], revision) : nil
    }
    var events = held
    held = []
    // What was delivered before a reconnection comes again only from a server that errs.
    for event in response.events where (event.kv?.modRevision ?? 0) >= nextRevision {
      events.append(event)
    }
    if response.fragment, let last = events.last?.kv?.modRevision {
      let cut = events.firstIndex { $0.kv?.modRevision == last } ?? events.endIndex
      held = Array(events[cut...])
      events.removeSubrange(cut...)
    }
    guard let last = events.last?.kv?.modRevision else { return nil }
    nextRevision = last + 1
    return (events, last)
  }
}
