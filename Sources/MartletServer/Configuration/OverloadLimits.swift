/// How much of what clients ask for may wait. Beyond a limit a request is refused at once with
/// `too many requests`, rather than a queue grown. What the member itself proposes (revocations,
/// alarms, compactions) and the messages of Raft are not counted here: they go before clients.
package struct OverloadLimits: Hashable, Sendable {
  /// Bytes of proposals on their way to the replica's thread, of all event loops.
  package var proposalBytesMax = 64 << 20

  /// Proposals of one event loop that wait for their answers. Far above what closed loops of
  /// thousands of clients have under way; each costs about a kilobyte, its call included.
  package var proposalsUnansweredMax = 32_768

  /// Their bytes, in a cluster of several: a lone member is bounded by its log.
  package var proposalsUnansweredBytesMax = 128 << 20

  /// Linearizable reads of one event loop that wait for their moment, and the bytes of their
  /// requests.
  package var readsWaitingMax = 32_768
  package var readsWaitingBytesMax = 64 << 20

  /// Reads that wait for a thread of the reader pool. Those under way go on regardless.
  package var readerJobsMax = 8192

  /// Bytes of larger answers that were made and not sent, of all connections.
  package var responseBytesMax = 512 << 20

  /// Bytes of answers of any size that one connection has not read; its further calls are refused.
  package var connectionBufferedBytesMax = 64 << 20

  package init() {}
}
