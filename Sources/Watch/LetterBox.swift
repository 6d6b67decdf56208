import Base
import MVCC

/// The bodies of responses for one span and one block, each form of them made once however many
/// watches it goes to.
struct LetterBox: ~Copyable {
  /// The events of one response.
  struct Letter {
    var firstMain: Int64
    var lastMain: Int64
    var eventCount: Int
    /// Where in `scratch` the body is, when it is not `direct`.
    var start: Int
    var count: Int
    /// A body that lies in the block as it is needed.
    var direct: UnsafeRawBufferPointer?
    /// A copy that streams may keep, of a body worth it.
    var shared: SharedBytes?
  }

  private(set) var letters: [Letter] = []
  private var scratch = ByteWriter(capacity: 4096)
  /// Which letters are those of each form.
  private var forms = [Range<Int>?](repeating: nil, count: Watcher.Flags.formCount)

  /// From this size on bodies are shared by reference: what the transport copies no more.
  static let sharedBytesMin = 8 << 10
  /// From this size on one event is sent from where the block has it. For less, a slow stream would
  /// hold the whole block for the sake of a part.
  static let slicedBytesMin = 64 << 10
  private static let keptBytesMax = 1 << 20

  /// Forgets all letters.
  mutating func removeAll() {
    letters.removeAll(keepingCapacity: true)
    for form in forms.indices { forms[form] = nil }
    if scratch.count > Self.keptBytesMax {
      scratch = ByteWriter(capacity: 4096)
    } else {
      scratch.removeAll()
    }
  }

  func known(_ form: Watcher.Flags) -> Range<Int>? { forms[Int(form.rawValue)] }

  mutating func note(_ range: Range<Int>, as form: Watcher.Flags) {
    forms[Int(form.rawValue)] = range
  }

  /// Forgets the letters from `range` on, which are the last ones.
  mutating func drop(_ range: Range<Int>) {
    guard !range.isEmpty else { return }
    let first = letters[range.lowerBound]
    if first.direct == nil { scratch.truncate(to: first.start) }
    letters.removeSubrange(range)
  }

  /// The body of a letter, valid until the next change.
  func body(_ letter: Int) -> UnsafeRawBufferPointer {
    if let direct = letters[letter].direct { return direct }
    let start = letters[letter].start
    return UnsafeRawBufferPointer(
      rebasing: scratch.bytes[start..<start + letters[letter].count]
    )
  }

  /// Whether an event of this revision begins a new letter.
  func needsNewLetter(since start: Int, main: Int64, adding bytes: Int, bytesMax: Int) -> Bool {
    guard letters.count > start, let last = letters.last else { return true }
    return last.lastMain != main && last.count + bytes > bytesMax
  }

  mutating func beginLetter(main: Int64) {
    letters.append(
      Letter(
        firstMain: main,
        lastMain: main,
        eventCount: 0,
        start: scratch.count,
        count: 0
      )
    )
  }

  /// Adds an event to the last letter, as it is in the block.
  mutating func append(_ frame: EventFrame) {
    let place = letters.count - 1
    if letters[place].eventCount == 0 {
      letters[place].direct = frame.fieldBytes
    } else {
      if let direct = letters[place].direct {
        scratch.append(direct)
        letters[place].direct = nil
      }
      scratch.append(frame.fieldBytes)
    }
    closeEvent(frame, bytes: frame.fieldBytes.count)
  }

  /// Adds an event to the last letter, with the pair that its key had before.
  mutating func append(_ frame: EventFrame, previous pair: UnsafeRawBufferPointer) {
    let place = letters.count - 1
    if let direct = letters[place].direct {
      scratch.append(direct)
      letters[place].direct = nil
    }
    let before = scratch.count
    let event = frame.eventBytes
    let pairLength = 1 + ByteWriter.varintLength(UInt64(pair.count)) + pair.count
    scratch.append(field: 11, lengthOfContent: event.count + pairLength)
    scratch.append(event)
    scratch.append(field: 3, content: pair)
    closeEvent(frame, bytes: scratch.count - before)
  }

  private mutating func closeEvent(_ frame: EventFrame, bytes: Int) {
    let place = letters.count - 1
    letters[place].lastMain = frame.main
    letters[place].eventCount += 1
    letters[place].count += bytes
  }

  /// Makes the long ones of these letters such that streams share them by reference: slices of the
  /// block, which is `block`, or copies if they go to `severalWatches`.
  mutating func share(_ range: Range<Int>, of block: ByteBlock, severalWatches: Bool) {
    for letter in range where letters[letter].count >= Self.sharedBytesMin {
      if letters[letter].count >= Self.slicedBytesMin, let direct = letters[letter].direct,
        let start = offset(of: direct, in: block.bytes)
      {
        letters[letter].shared = SharedBytes(block, start..<start + direct.count)
      } else if severalWatches {
        letters[letter].shared = SharedBytes(copying: body(letter))
      }
    }
  }

  private func offset(
    of part: UnsafeRawBufferPointer,
    in whole: UnsafeRawBufferPointer
  ) -> Int? {
    guard let start = part.baseAddress, let base = whole.baseAddress else { return nil }
    return start - base
  }
}
