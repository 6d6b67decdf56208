import Glibc

/// `martletutl`, which works on files.
enum OfflineTool {
  /// Becomes that program. Returns only by throwing.
  static func replace(with arguments: [String]) throws {
    var own = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
    let length = readlink("/proc/self/exe", &own, own.count - 1)
    let path = String(
      decoding: own.prefix(max(0, length)).map { UInt8(bitPattern: $0) },
      as: UTF8.self
    )
    let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? ""
    let beside = folder + "martletutl"
    let program = access(beside, X_OK) == 0 ? beside : "martletutl"
    var words = (["martletutl"] + arguments).map { RawText.copy($0) } + [nil]
    execvp(program, &words)
    for word in words { free(word) }
    throw Failure(
      .error,
      "\(arguments.prefix(2).joined(separator: " ")) is the work of martletutl, "
        + "which cannot be run: \(SystemError.text(errno))"
    )
  }
}
