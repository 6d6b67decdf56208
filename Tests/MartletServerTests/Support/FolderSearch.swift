import Foundation

extension TemporaryFolder {
  /// Whether any file in the folder holds `text`.
  func contains(_ text: String) throws -> Bool {
    let folder = URL(fileURLWithPath: path)
    let files = FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil)
    for file in files?.allObjects as? [URL] ?? [] where !file.hasDirectoryPath {
      let content = try Data(contentsOf: file, options: .alwaysMapped)
      let isFound = content.withUnsafeBytes { Self.isFound(Array(text.utf8), in: $0) }
      if isFound { return true }
    }
    return false
  }

  /// Looks for the first byte with the C library: most of a log's file is zeros.
  private static func isFound(_ text: [UInt8], in content: UnsafeRawBufferPointer) -> Bool {
    guard let base = content.baseAddress, let first = text.first else { return false }
    var offset = 0
    while offset + text.count <= content.count {
      guard let hit = memchr(base + offset, Int32(first), content.count - offset) else {
        return false
      }
      let place = UnsafeRawPointer(hit) - base
      guard place + text.count <= content.count else { return false }
      if memcmp(hit, text, text.count) == 0 { return true }
      offset = place + 1
    }
    return false
  }
}
