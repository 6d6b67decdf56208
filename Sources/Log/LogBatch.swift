package import Base
import CSupport

/// Records that go to the log together: all of them are durable, or none.
///
/// Records are encoded, and their checksum computed, as they are added, so that the thread that
/// writes has only to write. One thread at a time may use a batch; it may be handed from one to
/// another and used again after `removeAll()`.
package final class LogBatch: @unchecked Sendable {
  // Begins with room for the frame's header, which is filled in when the place is known.
  var writer: ByteWriter
  private(set) var payloadChecksum: UInt32 = 0
  /// How many records of any kind were added.
  package private(set) var recordCount = 0
  /// How many entries were added.
  package private(set) var entryCount = 0
  /// The lowest index of an entry in the batch; 0 if there is none.
  package private(set) var firstIndex = LogIndex.zero
  /// The index of the entry added last; 0 if there is none.
  package private(set) var lastIndex = LogIndex.zero
  private(set) var maxIndex = LogIndex.zero
  // Where the log ends after the batch, if the batch alone decides it.
  private(set) var endIndex: LogIndex?
  package private(set) var hardState: LogHardState?
  package private(set) var snapshot: SnapshotMark?
  // Index of the first entry added before any mark, for the check that the log has no gap.
  private(set) var leadingIndex: LogIndex?

  /// The largest frame: a batch must stay below it with everything encoded. In bytes.
  package static let frameBytesMax = 1 << 30
  /// The longest data of an entry. In bytes.
  package static let entryDataBytesMax = 512 << 20

  package init(capacity: Int = 64 << 10) {
    writer = ByteWriter(capacity: capacity)
    writer.advanceOverHeader()
  }

  package var isEmpty: Bool { recordCount == 0 }

  /// How many bytes the batch takes in the log, header included.
  package var byteCount: Int { writer.count }

  /// The same up to where the next batch may begin.
  package var paddedByteCount: Int { FrameHeader.aligned(byteCount) }

  var payloadBytes: Int { writer.count - FrameHeader.byteCount }

  /// Makes the batch empty; its memory is kept.
  package func removeAll() {
    writer.truncate(to: FrameHeader.byteCount)
    payloadChecksum = 0
    recordCount = 0
    entryCount = 0
    firstIndex = .zero
    lastIndex = .zero
    maxIndex = .zero
    endIndex = nil
    hardState = nil
    snapshot = nil
    leadingIndex = nil
  }

  /// Adds an entry. Its index is at most one more than that of the entry added before, or than the
  /// index of a mark added since; it replaces that index and all later ones.
  package func append(
    entry index: LogIndex,
    term: Term,
    kind: UInt8,
    data: UnsafeRawBufferPointer
  ) {
    precondition(data.count <= Self.entryDataBytesMax)
    precondition(index > .zero)
    if entryCount == 0 {
      firstIndex = index
    } else {
      precondition(index <= max(lastIndex, snapshot?.index ?? .zero) + 1, "gap before \(index)")
      firstIndex = min(firstIndex, index)
    }
    if entryCount == 0, snapshot == nil { leadingIndex = index }
    lastIndex = index
    endIndex = index
    maxIndex = max(maxIndex, index)
    entryCount += 1

    let start = writer.count
    let record = writer.reserve(Self.entryOverheadBytesMax + data.count)
    var end = RecordFormat.headerBytes
    RecordFormat.put(field: 1, varint: UInt64(kind), to: record, &end)
    RecordFormat.put(field: 2, varint: term.rawValue, to: record, &end)
    RecordFormat.put(field: 3, varint: index.rawValue, to: record, &end)
    if let bytes = data.baseAddress, data.count > 0 {
      RecordFormat.put(varint: UInt64(4 << 3 | 2), to: record, &end)
      RecordFormat.put(varint: UInt64(data.count), to: record, &end)
      (record + end).copyMemory(from: bytes, byteCount: data.count)
      end += data.count
    }
    writer.advance(by: end)
    close(.entry, since: start)
  }

  /// Adds an entry whose data lies in a shared block.
  package func append(entry index: LogIndex, term: Term, kind: UInt8, data: SharedBytes) {
    data.withUnsafeBytes { append(entry: index, term: term, kind: kind, data: $0) }
  }

  /// Adds a hard state, which replaces the one before.
  package func append(hardState: LogHardState) {
    let start = open()
    writer.append(field: 1, varint: hardState.term.rawValue)
    writer.append(field: 2, varint: hardState.vote.rawValue)
    writer.append(field: 3, varint: hardState.commit.rawValue)
    close(.hardState, since: start)
    self.hardState = hardState
  }

  /// Adds a mark: the state through its index is durable outside the log. See
  /// `SegmentedLog.recordSnapshot`.
  package func append(snapshot: SnapshotMark) {
    let start = open()
    snapshot.confState.withUnsafeBytes { writer.append(field: 1, content: $0) }
    writer.append(field: 2, varint: snapshot.index.rawValue)
    writer.append(field: 3, varint: snapshot.term.rawValue)
    writer.append(
      field: RecordFormat.replacesLogField,
      varint: UInt64(snapshot.replacesLog ? 1 : 0)
    )
    close(.snapshot, since: start)
    self.snapshot = snapshot
    endIndex = snapshot.replacesLog ? snapshot.index : endIndex.map { max($0, snapshot.index) }
  }

  func append(metadata: LogMetadata, nonce: UInt64) {
    let start = open()
    writer.append(field: 1, varint: metadata.clusterID.rawValue)
    writer.append(field: 2, varint: metadata.memberID.rawValue)
    writer.append(field: 3, varint: UInt64(SegmentHeader.formatVersion))
    writer.append(field: 4, varint: nonce)
    close(.metadata, since: start)
  }

  /// Fills in the header's room for the place that the frame gets; returns its checksum.
  func seal(durableOffset: Int, previous: UInt32, salt: UInt64, offset: Int) -> UInt32 {
    precondition(byteCount <= Self.frameBytesMax, "batch of \(byteCount) bytes")
    let header = FrameHeader(
      payloadBytes: UInt32(payloadBytes),
      durableOffset: UInt32(durableOffset),
      previous: previous,
      payloadChecksum: payloadChecksum,
      recordCount: UInt32(recordCount)
    )
    let count = writer.count
    writer.truncate(to: 0)
    let checksum = header.encode(
      into: writer.reserve(FrameHeader.byteCount),
      salt: salt,
      offset: offset
    )
    writer.advance(by: count)
    return checksum
  }

  // Record header, tags, three varints of up to 10 bytes, and the length of the data.
  private static let entryOverheadBytesMax = RecordFormat.headerBytes + 5 + 3 * 10 + 10

  private func open() -> Int {
    let start = writer.count
    _ = writer.reserve(RecordFormat.headerBytes)
    writer.advance(by: RecordFormat.headerBytes)
    return start
  }

  private func close(_ kind: RecordFormat.Kind, since start: Int) {
    let bodyBytes = writer.count - start - RecordFormat.headerBytes
    writer.overwrite(integer: kind.rawValue, at: start)
    writer.overwrite(integer: UInt32(bodyBytes).littleEndian, at: start + 1)
    let record = UnsafeRawBufferPointer(rebasing: writer.bytes[start...])
    payloadChecksum = martlet_crc32c(payloadChecksum, record.baseAddress, record.count)
    recordCount += 1
  }
}

extension ByteWriter {
  fileprivate mutating func advanceOverHeader() {
    reserve(FrameHeader.byteCount).initializeMemory(
      as: UInt8.self,
      repeating: 0,
      count: FrameHeader.byteCount
    )
    advance(by: FrameHeader.byteCount)
  }
}
