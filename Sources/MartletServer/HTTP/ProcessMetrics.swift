import Glibc

/// What Prometheus' clients tell of every process, read from /proc.
enum ProcessMetrics {
  static func add(to page: inout MetricsWriter) {
    let ticksPerSecond = Double(sysconf(Int32(_SC_CLK_TCK)))
    let fields = statFields()
    if fields.count > 21, let user = Double(fields[11]), let system = Double(fields[12]),
      let start = Double(fields[19]), let virtual = Double(fields[20]),
      let residentPages = Double(fields[21])
    {
      page.counter("process_cpu_seconds_total", (user + system) / ticksPerSecond)
      page.gauge("process_start_time_seconds", bootTimeSeconds() + start / ticksPerSecond)
      page.gauge("process_virtual_memory_bytes", virtual)
      page.gauge("process_resident_memory_bytes", residentPages * Double(getpagesize()))
    }
    let openFiles = Double(openFileCount())
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    page.gauge("process_open_fds", openFiles)
    page.gauge("process_max_fds", Double(limit.rlim_cur))
    page.gauge("os_fd_used", openFiles)
    page.gauge("os_fd_limit", Double(limit.rlim_cur))
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
    var bytes = [UInt8](repeating: 0, count: 16 << 10)
    let count = Glibc.read(descriptor, &bytes, bytes.count)
    return count > 0 ? String(decoding: bytes[..<count], as: UTF8.self) : nil
  }
}
