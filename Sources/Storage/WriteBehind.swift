import CSupport

/// Has a growing file written to the disk in steps while it grows, and holds back a writer that is
/// more than two steps ahead. So little of it is dirty at any time: its last sync does not take long,
/// nor does a sync of another file, for which the file system may write this one's data first.
struct WriteBehind {
  static let stepBytes = 8 << 20

  /// Up to here the file is on the disk, and up to here the system was told to write it.
  private var writtenBytes = 0
  private var begunBytes = 0

  /// The file has grown to `end`. What this cannot do, the sync at the end does.
  mutating func advance(_ descriptor: Int32, through end: Int) {
    guard end - begunBytes >= Self.stepBytes else { return }
    _ = martlet_begin_writing(descriptor, Int64(begunBytes), Int64(end - begunBytes))
    if begunBytes > writtenBytes {
      _ = martlet_await_writing(
        descriptor,
        Int64(writtenBytes),
        Int64(begunBytes - writtenBytes)
      )
    }
    writtenBytes = begunBytes
    begunBytes = end
  }
}
