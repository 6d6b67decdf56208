/// When the store's file is rewritten without its holes, unasked: only when that gives much back,
/// the disk has room for the copy, and not often.
///
/// Pages that deletes and compactions freed are used again by later writes, so a file that is half
/// empty does no harm by itself; one that stays mostly empty holds disk that others could use.
package struct SpacePolicy: Sendable {
  /// What rewriting must give back at least.
  package var wasteBytesMin = 64 << 20
  /// And which part of the file that must be.
  package var wasteShareMin = 0.5
  /// Room on the disk beside the copy.
  package var freeBytesSpare = 64 << 20
  /// The shortest time between two, from the end of one to the start of the next.
  package var pauseNanosecondsMin: UInt64 = 600_000_000_000
  /// A pause is at least so many times as long as the last one took: copying is to be rare also
  /// where disks are slow.
  package var pauseFactor: UInt64 = 20
  /// How long the store must have been wasteful before: a compaction under way frees more.
  package var settleNanoseconds: UInt64 = 30_000_000_000

  /// What is known of the store and its disk at one moment.
  package struct Sizes: Sendable {
    package var bytesOnDisk: Int
    package var bytesInUse: Int
    package var freeBytes: Int

    package init(bytesOnDisk: Int, bytesInUse: Int, freeBytes: Int) {
      self.bytesOnDisk = bytesOnDisk
      self.bytesInUse = bytesInUse
      self.freeBytes = freeBytes
    }
  }

  package init() {}

  private var wastefulSince: UInt64?
  private var notBefore: UInt64 = 0

  /// Looks at the sizes and says whether to begin now. Call every now and then; `now` must not
  /// fall.
  package mutating func shouldBegin(_ sizes: Sizes, now: UInt64) -> Bool {
    let waste = sizes.bytesOnDisk - sizes.bytesInUse
    guard waste >= wasteBytesMin, Double(waste) >= Double(sizes.bytesOnDisk) * wasteShareMin else {
      wastefulSince = nil
      return false
    }
    let since = wastefulSince ?? now
    wastefulSince = since
    return now - since >= settleNanoseconds && now >= notBefore
      && sizes.freeBytes >= sizes.bytesInUse + freeBytesSpare
  }

  /// Notes that one ended, well or not.
  package mutating func ended(begin: UInt64, now: UInt64) {
    wastefulSince = nil
    notBefore = now + max(pauseNanosecondsMin, (now - begin) * pauseFactor)
  }
}
