import Glibc
import Prometheus

/// What Prometheus' clients tell of every process, read from /proc.
enum ProcessMetrics {
  private typealias Definition = MetricDefinition

  private static let processorSeconds = Definition(
    "process_cpu_seconds_total",
    .counter,
    "Processor time spent, for the program and for the system, in seconds."
  )
  private static let startTime = Definition(
    "process_start_time_seconds",
    .gauge,
    "When the process was started, in seconds since 1970."
  )
  private static let virtualBytes = Definition(
    "process_virtual_memory_bytes",
    .gauge,
    "Bytes of address space in use."
  )
  private static let virtualBytesMax = Definition(
    "process_virtual_memory_max_bytes",
    .gauge,
    "Bytes of address space that the process may use."
  )
  private static let residentBytes = Definition(
    "process_resident_memory_bytes",
    .gauge,
    "Bytes of memory in use."
  )
  private static let openFiles = Definition(
    "process_open_fds",
    .gauge,
    "Open file descriptors."
  )
  private static let openFilesMax = Definition(
    "process_max_fds",
    .gauge,
    "File descriptors that may be open at once."
  )
  private static let filesUsed = Definition("os_fd_used", .gauge, "Open file descriptors.")
  private static let filesLimit = Definition(
    "os_fd_limit",
    .gauge,
    "File descriptors that may be open at once."
  )
  private static let bytesReceived = Definition(
    "process_network_receive_bytes_total",
    .counter,
    "Bytes that the process's network namespace received over IP."
  )
  private static let bytesSent = Definition(
    "process_network_transmit_bytes_total",
    .counter,
    "Bytes that the process's network namespace sent over IP."
  )

  static func families() -> [MetricFamily] {
    let files = Double(openFileCount())
    let filesMax = limit(RLIMIT_NOFILE)
    var families = [
      MetricFamily(openFiles, files), MetricFamily(openFilesMax, filesMax),
      MetricFamily(filesUsed, files), MetricFamily(filesLimit, filesMax),
      MetricFamily(virtualBytesMax, limit(RLIMIT_AS)),
    ]
    let ticksPerSecond = Double(sysconf(Int32(_SC_CLK_TCK)))
    let fields = statFields()
    if fields.count > 21, let user = Double(fields[11]), let system = Double(fields[12]),
      let start = Double(fields[19]), let virtual = Double(fields[20]),
      let residentPages = Double(fields[21])
    {
      families += [
        MetricFamily(processorSeconds, (user + system) / ticksPerSecond),
        MetricFamily(startTime, bootTimeSeconds() + start / ticksPerSecond),
        MetricFamily(virtualBytes, virtual),
        MetricFamily(residentBytes, residentPages * Double(getpagesize())),
      ]
    }
    if let (received, sent) = networkBytes() {
      families += [MetricFamily(bytesReceived, received), MetricFamily(bytesSent, sent)]
    }
    return families
  }

  /// The soft limit of a resource; 2^64 - 1 when there is none.
  private static func limit(_ resource: __rlimit_resource) -> Double {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(resource.rawValue), &limit)
    return Double(limit.rlim_cur)
  }

  /// The fields of /proc/self/stat after the command's name, which may hold spaces.
  private static func statFields() -> [Substring] {
    guard let text = read("/proc/self/stat"), let end = text.lastIndex(of: ")") else { return [] }
    return text[text.index(after: end)...].split(separator: " ")
  }

  private static func bootTimeSeconds() -> Double {
    let lines = read("/proc/stat")?.split(separator: "\n") ?? []
    let line = lines.first { $0.hasPrefix("btime ") }
    return line.flatMap { Double($0.dropFirst("btime ".count)) } ?? 0
  }

  /// The octets in and out of the line `IpExt:`, whose names stand in the line before it.
  private static func networkBytes() -> (received: Double, sent: Double)? {
    let lines = (read("/proc/self/net/netstat")?.split(separator: "\n") ?? [])
      .filter { $0.hasPrefix("IpExt:") }.map { $0.split(separator: " ") }
    guard lines.count == 2,
      let received = lines[0].firstIndex(of: "InOctets"), received < lines[1].count,
      let sent = lines[0].firstIndex(of: "OutOctets"), sent < lines[1].count,
      let receivedBytes = Double(lines[1][received]), let sentBytes = Double(lines[1][sent])
    else { return nil }
    return (receivedBytes, sentBytes)
  }

  private static func openFileCount() -> Int {
    guard let directory = opendir("/proc/self/fd") else { return 0 }
    defer { closedir(directory) }
    var count = 0
    while readdir(directory) != nil { count += 1 }
    // Not counted: the entries for the folder and its parent, and this descriptor.
    return max(count - 3, 0)
  }

  /// A small file of /proc as text.
  private static func read(_ path: String) -> String? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 64 << 10)
    let count = Glibc.read(descriptor, &bytes, bytes.count)
    return count > 0 ? String(decoding: bytes[..<count], as: UTF8.self) : nil
  }
}
