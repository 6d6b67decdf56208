import Base
package import MVCC

// Events on their way to the watches.
extension WatchHub {
  /// Gives the events of a block to the level watches. Blocks come in order; what a watch was given
  /// before is passed over, and after a gap the watches fetch what is missing from the store.
  package func deliver(_ block: EventBlock) {
    guard isActive, block.through.rawValue > delivered else { return }
    if block.after.rawValue > delivered { loseTouch(through: block.after.rawValue) }
    give(block, above: delivered, to: [])
    delivered = block.through.rawValue
    if counts.slowWatches > 0 {
      recent.append(block, bytesMax: limits.recentBytesMax)
    } else {
      recent.removeAll()
    }
    answerAllProgress()
  }

  /// Blocks were left out: level watches become lagging ones. The blocks that follow begin after
  /// the store's revision of now, or overlap with it.
  package func loseTouch() {
    guard isActive else { return }
    loseTouch(through: store.currentRevision.rawValue)
  }

  private func loseTouch(through revision: Int64) {
    guard revision > delivered else { return }
    for case let stream? in streams {
      let isWritable = output.isWritable(stream.token)
      var place = stream.head
      while place != nowhere {
        if !watchers[place].flags.contains(.lagging), watchers[place].next <= revision {
          fallBehind(place, at: max(watchers[place].next, delivered + 1))
          if isWritable { makeReady(place) } else { awaitWritable(stream) }
        }
        place = watchers[place].streamNext
      }
    }
    delivered = revision
    recent.removeAll()
  }

  /// Sends the events of a block after revision `main` to the watches that have one of the flags of
  /// `audience`; to the level ones when there are none in it.
  func give(_ block: EventBlock, above main: Int64, to audience: Watcher.Flags) {
    headRevision = 0
    match(block.block.bytes, block.count, above: main)
    for span in touched {
      let first = index.spans[span].firstHit
      index.spans[span].firstHit = nowhere
      index.spans[span].lastHit = nowhere
      offer(first, of: block.block, to: audience, watching: span)
    }
    withExtendedLifetime(block) {}
    touched.removeAll(keepingCapacity: true)
    hits.removeAll(keepingCapacity: hits.capacity < Self.keptHitsMax)
  }

  private static let keptHitsMax = 1 << 16

  /// Notes with each span the events of its keys.
  private func match(_ bytes: UnsafeRawBufferPointer, _ count: Int, above main: Int64) {
    guard let base = bytes.baseAddress else { return }
    var frame = EventFrame(base: base)
    for position in 0..<count {
      if position > 0 { frame = frame.next }
      guard frame.main > main else { continue }
      index.forEachSpan(holding: frame.key) { span in
        let hit = Int32(hits.count)
        hits.append(Hit(frame: frame, next: nowhere))
        if index.spans[span].firstHit == nowhere {
          index.spans[span].firstHit = hit
          touched.append(span)
        } else {
          hits[Int(index.spans[span].lastHit)].next = hit
        }
        index.spans[span].lastHit = hit
      }
    }
  }

  private func offer(
    _ firstHit: Int32,
    of block: ByteBlock,
    to audience: Watcher.Flags,
    watching span: Int32
  ) {
    let firstMain = hits[Int(firstHit)].frame.main
    let isAlone = watchers[index.spans[span].head].spanNext == nowhere
    var place = index.spans[span].head
    while place != nowhere {
      let next = watchers[place].spanNext
      let flags = watchers[place].flags
      let isMeant =
        audience.isEmpty ? !flags.contains(.lagging) : !flags.isDisjoint(with: audience)
      if isMeant {
        let form = flags.intersection(.formMask)
        if watchers[place].next > firstMain {
          let own = write(firstHit, from: watchers[place].next, form)
          send(own, to: place)
          letters.drop(own)
        } else if let known = letters.known(form) {
          send(known, to: place)
        } else {
          let made = write(firstHit, from: firstMain, form)
          letters.share(made, of: block, severalWatches: !isAlone)
          letters.note(made, as: form)
          send(made, to: place)
        }
      }
      place = next
    }
    letters.removeAll()
  }

  /// Writes letters with those of the hits at or after `revision` that a form of watch wants.
  private func write(_ firstHit: Int32, from revision: Int64, _ form: Watcher.Flags) -> Range<Int> {
    let start = letters.letters.count
    var hit = firstHit
    while hit != nowhere {
      let frame = hits[Int(hit)].frame
      hit = hits[Int(hit)].next
      let main = frame.main
      guard main >= revision, !form.contains(frame.isDelete ? .noDelete : .noPut) else { continue }
      let bytes = frame.fieldBytes.count
      if letters.needsNewLetter(
        since: start,
        main: main,
        adding: bytes,
        bytesMax: limits.responseBytes
      ) {
        letters.beginLetter(main: main)
      }
      if form.contains(.previousPair) {
        store.withPair(of: frame.key, at: Revision(main - 1), reader: reader) { pair in
          if let pair { letters.append(frame, previous: pair) } else { letters.append(frame) }
        }
      } else {
        letters.append(frame)
      }
    }
    return start..<letters.letters.count
  }

  /// Sends letters to a watch until its stream takes no more; then it falls behind.
  private func send(_ range: Range<Int>, to place: Int32) {
    guard !range.isEmpty else { return }
    let (token, id) = (watchers[place].token, watchers[place].id)
    for letter in range {
      guard output.isWritable(token) else {
        fallBehind(place, at: letters.letters[letter].firstMain)
        awaitWritable(stream(of: place))
        return
      }
      counts.eventsSent += letters.letters[letter].eventCount
      let isParted =
        letters.letters[letter].count > limits.fragmentBytesMax
        && watchers[place].flags.contains(.fragment)
      if isParted {
        sendParted(letter, to: token, id)
        continue
      }
      beginHead(letters.letters[letter].lastMain, id)
      if let shared = letters.letters[letter].shared {
        output.send(token, head.bytes, shared: shared)
      } else {
        output.send(token, head.bytes, letters.body(letter))
      }
    }
    watchers[place].flags.insert(.busy)
  }

  /// Begins a response to a watch: what comes before the events.
  @inline(__always)
  private func beginHead(_ lastMain: Int64, _ id: Int64) {
    let revision = max(lastMain, delivered)
    if revision == headRevision {
      head.truncate(to: headerLength)
    } else {
      head.removeAll()
      output.header.write(revision: Revision(revision), into: &head)
      headRevision = revision
      headerLength = head.count
    }
    head.append(field: 2, varint: id)
  }

  /// Sends a long letter in fragments of whole events.
  private func sendParted(_ letter: Int, to token: UInt64, _ id: Int64) {
    let body = letters.body(letter)
    let lastMain = letters.letters[letter].lastMain
    var start = 0
    while start < body.count {
      var end = start + Self.fieldLength(body, at: start)
      while end < body.count {
        let more = Self.fieldLength(body, at: end)
        if end + more - start > limits.fragmentBytesMax { break }
        end += more
      }
      beginHead(lastMain, id)
      if end < body.count { head.append(field: 7, varint: UInt64(1)) }
      output.send(token, head.bytes, UnsafeRawBufferPointer(rebasing: body[start..<end]))
      start = end
    }
  }

  /// The length of the length-delimited field at `offset`, whose tag is one byte.
  private static func fieldLength(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> Int {
    var position = offset + 1
    var length = 0
    var shift = 0
    while true {
      let byte = Int(bytes[position])
      position += 1
      length |= (byte & 0x7f) << shift
      if byte < 0x80 { return position - offset + length }
      shift += 7
    }
  }
}
