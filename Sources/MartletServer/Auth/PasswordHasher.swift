import CCrypt
import Glibc
import Synchronization

/// Makes and checks bcrypt hashes on threads of its own: one takes tens of milliseconds at the usual
/// cost, which no event loop has.
///
/// Work beyond `waitingMax` is refused, so a flood of log-ins costs a bounded queue and these few
/// threads. Any thread.
final class PasswordHasher: Sendable {
  /// The most jobs that wait or run.
  static let waitingMax = 256
  /// What bcrypt takes of a password; the rest does not count, as in etcd 3.4.
  static let passwordBytesMax = 72
  static let costDefault = 10

  let cost: Int
  private let mailbox = Mailbox<@Sendable () -> Void>()
  private let threads: [WorkerThread]
  private let waiting = Atomic<Int>(0)
  private let waitingMax: Int
  /// Made at the start: what an unknown user's password is compared with, so that the answer takes
  /// as long as a known one's.
  private let decoy: [UInt8]

  init(cost: Int, threadCount: Int, waitingMax: Int = PasswordHasher.waitingMax) {
    self.cost = cost
    self.waitingMax = waitingMax
    // Of the right cost, and of no password that anybody knows.
    decoy = Self.hash(Self.random(24), cost: cost) ?? []
    let mailbox = mailbox
    threads = (0..<threadCount).map { number in
      WorkerThread(name: "martlet-hash-\(number)") {
        while let job = mailbox.takeOne() { job() }
      }
    }
  }

  /// How many jobs wait or run.
  var waitingCount: Int { waiting.load(ordering: .relaxed) }

  /// Runs `job` on a thread of the pool. Returns false when too much waits, or after `stop`.
  func submit(_ job: @escaping @Sendable () -> Void) -> Bool {
    guard waiting.wrappingAdd(1, ordering: .relaxed).newValue <= waitingMax else {
      waiting.wrappingSubtract(1, ordering: .relaxed)
      return false
    }
    let isPosted = mailbox.post {
      job()
      self.waiting.wrappingSubtract(1, ordering: .relaxed)
    }
    if !isPosted { waiting.wrappingSubtract(1, ordering: .relaxed) }
    return isPosted
  }

  /// Lets the jobs under way finish and drops those that wait.
  func stop() {
    mailbox.close()
    for thread in threads { thread.join() }
  }

  /// Hashes a password, on this thread. Nil when it holds a zero byte, where bcrypt would end it.
  func hash(_ password: [UInt8]) -> [UInt8]? {
    Self.hash(password, cost: cost)
  }

  /// Whether `password` is the one of `hash`, on this thread. Without a hash it takes as long, and
  /// the answer is no.
  func matches(_ password: [UInt8], _ hash: [UInt8]?) -> Bool {
    let known = hash.flatMap { $0.isEmpty ? nil : $0 }
    guard let result = Self.crypt(password, known ?? decoy), let known else { return false }
    return Self.isEqual(result, known)
  }

  private static func hash(_ password: [UInt8], cost: Int) -> [UInt8]? {
    let random = random(16)
    var setting = [CChar](repeating: 0, count: Int(CRYPT_GENSALT_OUTPUT_SIZE))
    let made = random.withUnsafeBytes { random in
      crypt_gensalt_rn(
        "$2a$",
        UInt(cost),
        random.baseAddress?.assumingMemoryBound(to: CChar.self),
        Int32(random.count),
        &setting,
        Int32(setting.count)
      )
    }
    guard made != nil else { return nil }
    return crypt(password, setting.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) })
  }

  /// What bcrypt makes of a password under a setting, or under a hash's own.
  private static func crypt(_ password: [UInt8], _ setting: [UInt8]) -> [UInt8]? {
    guard !password.contains(0), setting.starts(with: Array("$2".utf8)) else { return nil }
    let phrase = (password.prefix(passwordBytesMax) + [0]).map { CChar(bitPattern: $0) }
    let settingText = (setting + [0]).map { CChar(bitPattern: $0) }
    // Some 32 KiB of working memory, which the library leaves for us to clear.
    let data = UnsafeMutableRawPointer.allocate(
      byteCount: MemoryLayout<crypt_data>.size,
      alignment: MemoryLayout<crypt_data>.alignment
    )
    memset(data, 0, MemoryLayout<crypt_data>.size)
    defer {
      explicit_bzero(data, MemoryLayout<crypt_data>.size)
      data.deallocate()
    }
    let size = Int32(MemoryLayout<crypt_data>.size)
    guard let result = crypt_rn(phrase, settingText, data, size) else { return nil }
    return [UInt8](UnsafeRawBufferPointer(start: result, count: strlen(result)))
  }

  /// Compares without telling, by the time it takes, where the first difference is.
  private static func isEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    guard left.count == right.count else { return false }
    var difference: UInt8 = 0
    for index in left.indices { difference |= left[index] ^ right[index] }
    return difference == 0
  }

  private static func random(_ count: Int) -> [UInt8] {
    var generator = SystemRandomNumberGenerator()
    return (0..<count).map { _ in UInt8.random(in: 1 ... .max, using: &generator) }
  }
}
