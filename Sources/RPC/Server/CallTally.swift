/// The counters of one event loop as plain integers in one piece of memory.
struct CallTally: ~Copyable {
  private enum Column {
    // 0...16: calls ended with that code.
    static let started = 17
    static let messagesReceived = 18
    static let messagesSent = 19
    static let count = 20
  }

  private var cells: UnsafeMutablePointer<UInt64>
  private var methodCount = 0
  var bytesReceived: UInt64 = 0
  var bytesSent: UInt64 = 0

  init() {
    cells = .allocate(capacity: 1)
  }

  deinit {
    cells.deallocate()
  }

  /// Makes room for more methods; what was counted stays.
  mutating func grow(methodCount: Int) {
    precondition(methodCount >= self.methodCount)
    let bigger = UnsafeMutablePointer<UInt64>.allocate(
      capacity: max(methodCount, 1) * Column.count
    )
    bigger.initialize(repeating: 0, count: methodCount * Column.count)
    bigger.update(from: cells, count: self.methodCount * Column.count)
    cells.deallocate()
    cells = bigger
    self.methodCount = methodCount
  }

  func countStarted(_ method: Int) {
    cells[method * Column.count + Column.started] &+= 1
  }

  func countEnded(_ method: Int, _ code: RPCCode) {
    cells[method * Column.count + Int(code.rawValue)] &+= 1
  }

  mutating func countReceived(_ method: Int, bytes: Int) {
    cells[method * Column.count + Column.messagesReceived] &+= 1
    bytesReceived &+= UInt64(bytes)
  }

  mutating func countSent(_ method: Int, bytes: Int) {
    cells[method * Column.count + Column.messagesSent] &+= 1
    bytesSent &+= UInt64(bytes)
  }

  func counters(of method: Int, _ info: MethodInfo) -> MethodCounters {
    let row = cells + method * Column.count
    var result = MethodCounters(info)
    result.started = row[Column.started]
    result.messagesReceived = row[Column.messagesReceived]
    result.messagesSent = row[Column.messagesSent]
    for code in result.handled.indices { result.handled[code] = row[code] }
    return result
  }
}
