import Proto
import RPC

// Ranges too large for one answer.
extension KV {
  /// How many keys one page has unless said otherwise.
  public static let pageKeyCount: Int64 = 1000

  /// The keys of a range in the order of their bytes, page by page, all as they were at one
  /// revision: that of the first page, or the one that `options` name. Options that order the keys
  /// are not possible here (`invalidArgument`); its limit bounds all pages together.
  ///
  ///     for try await page in client.kv.pages(.prefix("user/")) {
  ///       for user in page.keyValues { ... }
  ///     }
  ///
  /// Throws `compacted` when the revision is compacted on the way.
  public func pages(
    _ range: KeyRange,
    _ options: RangeOptions = RangeOptions(),
    pageKeyCount: Int64 = KV.pageKeyCount
  ) -> RangePages {
    RangePages(kv: self, range: range, options: options, pageKeyCount: max(1, pageKeyCount))
  }

  /// The keys of a range in the order of their bytes, all as they were at one revision, sent by the
  /// server in one stream, or asked for in pages where the server is too old. A slow reader holds
  /// the server back. When the connection is lost it goes on elsewhere behind the last key.
  ///
  /// Options as with `pages`; revision filters are not possible here. Throws `compacted` when it has
  /// to go on and the revision has been compacted.
  public func stream(
    _ range: KeyRange,
    _ options: RangeOptions = RangeOptions()
  ) -> RangeStream {
    RangeStream(kv: self, range: range, options: options)
  }
}

/// See `KV.pages`.
public struct RangePages: AsyncSequence, Sendable {
  public typealias Element = RangeResult
  public typealias Failure = ClientError

  let kv: KV
  let range: KeyRange
  let options: RangeOptions
  let pageKeyCount: Int64

  public func makeAsyncIterator() -> AsyncIterator {
    AsyncIterator(
      kv: kv,
      rest: range,
      options: options,
      keysLeft: options.limit > 0 ? options.limit : .max,
      pageKeyCount: pageKeyCount
    )
  }

  public struct AsyncIterator: AsyncIteratorProtocol {
    let kv: KV
    /// nil when all has been read.
    var rest: KeyRange?
    var options: RangeOptions
    var keysLeft: Int64
    let pageKeyCount: Int64

    public mutating func next() async throws -> RangeResult? {
      try await next(isolation: nil)
    }

    public mutating func next(
      isolation actor: isolated (any Actor)?
    ) async throws(ClientError) -> RangeResult? {
      guard let range = rest else { return nil }
      guard options.order == nil else {
        throw .invalid("a range that is read in parts cannot be ordered")
      }
      options.limit = Swift.min(pageKeyCount, keysLeft)
      let page = try await kv.range(range, options)
      if options.revision == 0 { options.revision = page.header.revision }
      keysLeft -= Int64(page.keyValues.count)
      if page.hasMore, keysLeft > 0, let last = page.keyValues.last {
        rest = range.after(last.key)
      } else {
        rest = nil
      }
      return page
    }
  }
}

/// See `KV.stream`.
public struct RangeStream: AsyncSequence, Sendable {
  public typealias Element = KeyValue
  public typealias Failure = ClientError

  let kv: KV
  let range: KeyRange
  let options: RangeOptions

  public func makeAsyncIterator() -> AsyncIterator {
    AsyncIterator(kv: kv, rest: range, options: options)
  }

  public struct AsyncIterator: AsyncIteratorProtocol {
    private let kv: KV
    private var rest: KeyRange
    private var options: RangeOptions
    private var stream: OpenStream<Etcdserverpb.RangeStreamResponse>?
    private var pages: RangePages.AsyncIterator?
    private var batch: ArraySlice<KeyValue> = []
    private var keysLeft: Int64
    private var isOver = false

    init(kv: KV, rest: KeyRange, options: RangeOptions) {
      self.kv = kv
      self.rest = rest
      self.options = options
      keysLeft = options.limit > 0 ? options.limit : .max
    }

    public mutating func next() async throws -> KeyValue? {
      try await next(isolation: nil)
    }

    public mutating func next(
      isolation actor: isolated (any Actor)?
    ) async throws(ClientError) -> KeyValue? {
      while batch.isEmpty {
        guard !isOver, keysLeft > 0 else { return nil }
        if pages != nil {
          let page = try await pages?.next(isolation: actor)
          batch = (page?.keyValues ?? [])[...]
          isOver = page == nil
        } else {
          try await readStream(isolation: actor)
        }
      }
      guard let keyValue = batch.popFirst() else { return nil }
      keysLeft -= 1
      rest = rest.after(keyValue.key)
      isOver = isOver || rest.end.isEmpty
      return keyValue
    }

    /// Reads one message of the stream, which is opened when there is none.
    private mutating func readStream(
      isolation actor: isolated (any Actor)?
    ) async throws(ClientError) {
      let response: Etcdserverpb.RangeStreamResponse?
      if let stream {
        do throws(ClientError) {
          response = try await stream.next()
        } catch  where error.code == .unavailable && options.revision != 0 {
          self.stream = nil
          return
        }
      } else {
        do throws(ClientError) {
          response = try await open(isolation: actor)
        } catch  where error.grpcStatus == Int(RPCCode.unimplemented.rawValue) {
          options.limit = keysLeft == .max ? 0 : keysLeft
          pages = kv.pages(rest, options).makeAsyncIterator()
          return
        }
      }
      guard let response else {
        isOver = true
        return
      }
      let part = RangeResult(response.rangeResponse ?? Etcdserverpb.RangeResponse(), kv.scope)
      batch = part.keyValues[...]
    }

    private mutating func open(
      isolation actor: isolated (any Actor)?
    ) async throws(ClientError) -> Etcdserverpb.RangeStreamResponse? {
      // The server tells the revision only at the end: it is asked first, so that the stream can go
      // on after a break.
      if options.revision == 0, !options.isSerializable {
        options.revision = try await kv.range(.key([0]), RangeOptions(limit: 1)).header.revision
      }
      options.limit = keysLeft == .max ? 0 : keysLeft
      let request = options.request(rest, kv.scope)
      let (stream, first) = try await kv.scope.openStream("KV/RangeStream") {
        attempt async throws(RPCError) in
        try await KVClient(attempt.client).rangeStream(request, options: attempt.streamOptions)
      }
      self.stream = stream
      return first
    }
  }
}
