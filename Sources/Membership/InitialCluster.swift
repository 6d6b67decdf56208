/// The members that found a cluster, as `--initial-cluster` names them:
/// `name=url,name=url2,other=url3`. A name may come several times, once per URL.
package struct InitialCluster: Hashable, Sendable, CustomStringConvertible {
  /// One founding member.
  package struct Entry: Hashable, Sendable {
    package let name: String
    /// Sorted, without duplicates, never empty.
    package let peerURLs: [ServerURL]
  }

  /// In ascending order of name.
  package let entries: [Entry]

  /// The most founding members; more is a mistake.
  package static let memberCountMax = 64

  /// Reads the flag's text.
  package init(_ text: String) throws(InitialClusterError) {
    var urlsByName: [(name: String, urls: [ServerURL])] = []
    for item in text.split(separator: ",") {
      let item = String(item).trimmingASCIISpace()
      if item.isEmpty { continue }
      guard let equals = item.firstIndex(of: "=") else { throw .noName(item) }
      let name = String(item[..<equals])
      guard !name.isEmpty else { throw .noName(item) }
      let url: ServerURL
      do {
        url = try ServerURL(String(item[item.index(after: equals)...]))
      } catch {
        throw .badURL(name: name, error)
      }
      if let index = urlsByName.firstIndex(where: { $0.name == name }) {
        if urlsByName[index].urls.contains(url) { throw .duplicateURL(url.description) }
        urlsByName[index].urls.append(url)
      } else {
        guard urlsByName.count < Self.memberCountMax else { throw .tooManyMembers }
        urlsByName.append((name, [url]))
      }
    }
    guard !urlsByName.isEmpty else { throw .empty }
    urlsByName.sort { $0.name < $1.name }
    entries = urlsByName.map { Entry(name: $0.name, peerURLs: $0.urls.sorted()) }
    var seen: Set<ServerURL> = []
    for url in entries.flatMap(\.peerURLs) where !seen.insert(url).inserted {
      throw .duplicateURL(url.description)
    }
  }

  /// The entry of the member called `name`, if it is among the founders.
  package subscript(name: String) -> Entry? {
    entries.first { $0.name == name }
  }

  /// The flag's text in canonical form: sorted by name, then URL.
  package var description: String {
    entries.flatMap { entry in entry.peerURLs.map { "\(entry.name)=\($0)" } }
      .joined(separator: ",")
  }
}

/// Why `--initial-cluster` was refused; `description` is meant for the operator.
package enum InitialClusterError: Error, Hashable, CustomStringConvertible {
  case empty
  case noName(String)
  case badURL(name: String, ServerURLError)
  case duplicateURL(String)
  case tooManyMembers

  package var description: String {
    switch self {
    case .empty: "no member given"
    case .noName(let item): "expected name=url, found \(item.debugDescription)"
    case .badURL(let name, let error): "member \(name.debugDescription): \(error)"
    case .duplicateURL(let url): "\(url) is given more than once"
    case .tooManyMembers: "more than \(InitialCluster.memberCountMax) members"
    }
  }
}
