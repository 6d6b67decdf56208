/// The changes of a key or a range, one by one, from `Client.watch`.
///
///     let watch = try await client.watch(.prefix("config/"))
///     for try await event in watch {
///       print(event.kind, event.keyValue.keyText, event.keyValue.text)
///     }
///
/// No change is lost and none comes twice, also when connections break or members go: the watch goes
/// on at another member where it was. It ends by throwing `ClientError`: with code `compacted` when
/// it has to go on at a revision that is gone (`compactRevision` says what is left: read the range,
/// and watch from there), `permissionDenied`, `closed`, or `canceled`.
///
/// Read by one task at a time. A slow reader holds the member back; nothing piles up here. Letting
/// go of the watch, or `cancel()`, ends it at the member.
public struct Watch: AsyncSequence, Sendable {
  public typealias Element = WatchEvent
  public typealias Failure = ClientError

  let session: WatchSession
  /// The revision of the store when the watch was made. Without a start revision, everything after
  /// this is told.
  public let revision: Int64

  /// The same changes, whole revisions at a time.
  public var batches: Batches { Batches(session: session) }

  /// Asks the member how far it has told. `batches` then has a batch without events, behind everything
  /// up to its revision.
  ///
  /// A member of etcd keeps silent while it is behind with this watch or with one that shares its
  /// stream, and while one of them begins later: ask again. The question goes along when the watch
  /// goes on at another member.
  public func requestProgress() async {
    await session.requestProgress()
  }

  /// Ends the watch: a reader gets `canceled`.
  public func cancel() async {
    await session.cancel()
  }

  public func makeAsyncIterator() -> AsyncIterator {
    AsyncIterator(session: session)
  }

  public struct AsyncIterator: AsyncIteratorProtocol {
    let session: WatchSession
    private var events: ArraySlice<WatchEvent> = []

    init(session: WatchSession) {
      self.session = session
    }

    public mutating func next() async throws -> WatchEvent? {
      try await next(isolation: nil)
    }

    public mutating func next(
      isolation actor: isolated (any Actor)?
    ) async throws(ClientError) -> WatchEvent? {
      while events.isEmpty { events = try await session.next().events[...] }
      return events.popFirst()
    }
  }

  /// See `Watch.batches`.
  public struct Batches: AsyncSequence, Sendable {
    public typealias Element = WatchBatch
    public typealias Failure = ClientError

    let session: WatchSession

    public func makeAsyncIterator() -> AsyncIterator {
      AsyncIterator(session: session)
    }

    public struct AsyncIterator: AsyncIteratorProtocol {
      let session: WatchSession

      public mutating func next() async throws -> WatchBatch? {
        try await next(isolation: nil)
      }

      public mutating func next(
        isolation actor: isolated (any Actor)?
      ) async throws(ClientError) -> WatchBatch? {
        try await session.next()
      }
    }
  }
}

extension CallScope {
  func watch(_ range: KeyRange, _ options: WatchOptions) async throws(ClientError) -> Watch {
    let session = WatchSession(self, range, options)
    let revision = try await session.start()
    return Watch(session: session, revision: revision)
  }
}

extension Client {
  /// Watches a key or a range. Returns when the member has the watch: what happens from then on is
  /// told, or what happened since `options.startRevision`.
  public func watch(
    _ range: KeyRange,
    _ options: WatchOptions = WatchOptions()
  ) async throws(ClientError) -> Watch {
    try await scope.watch(range, options)
  }

  /// Watches one key.
  public func watch(
    _ key: some BytesConvertible,
    _ options: WatchOptions = WatchOptions()
  ) async throws(ClientError) -> Watch {
    try await scope.watch(.key(key), options)
  }
}
