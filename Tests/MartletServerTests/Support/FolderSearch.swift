import Foundation

extension TemporaryFolder {
  /// Whether any file in the folder holds `text`.
  func contains(_ text: String) throws -> Bool {
    let folder = URL(fileURLWithPath: path)
    let files = FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil)
    for file in files?.allObjects as? [URL] ?? [] where !file.hasDirectoryPath {
      let content = try Data(contentsOf: file, options: .alwaysMapped)
      let isFound = content.withUnsafeBytes { content in
        guard let start = content.baseAddress else { return false }
        return memmem(start, content.count, text, text.utf8.count) != nil
      }
      if isFound { return true }
    }
    return false
  }
}
