/// Keys with their values, drawn as a tree of the parts between slashes.
struct KeyTree {
  private final class Node {
    var value: [UInt8]?
    /// In the order in which they were met.
    var children: [(name: [UInt8], node: Node)] = []
    private var places: [[UInt8]: Int] = [:]

    func child(_ name: [UInt8]) -> Node {
      if let place = places[name] { return children[place].node }
      let node = Node()
      places[name] = children.count
      children.append((name, node))
      return node
    }
  }

  private let root = Node()

  /// What lies deeper is one part: drawing takes the square of the depth.
  static let depthMax = 64

  init(_ pairs: [(key: [UInt8], value: [UInt8])]) {
    for (key, value) in pairs {
      var node = root
      var part: [UInt8] = []
      var depth = 0
      for byte in key {
        part.append(byte)
        if byte == UInt8(ascii: "/"), depth < Self.depthMax {
          depth += 1
          node = node.child(part)
          part = []
        }
      }
      if !part.isEmpty { node = node.child(part) }
      node.value = value
    }
  }

  func lines(hidesValues: Bool, usesColour: Bool) -> [UInt8] {
    var text: [UInt8] = []
    // What is still to be drawn, the next one last.
    var stack: [(node: Node, name: [UInt8], indent: String, isLast: Bool, isTop: Bool)] =
      root.children.reversed().map { ($0.node, $0.name, "", true, true) }
    while let (node, name, indent, isLast, isTop) = stack.popLast() {
      text += "\(indent)\(isTop ? "" : isLast ? "└── " : "├── ")".utf8
      text +=
        usesColour && node.value == nil
        ? Array("\u{1b}[34m".utf8) + name + Array("\u{1b}[0m".utf8) : name
      if let value = node.value, !hidesValues { text += Array(" = ".utf8) + value }
      text.append(UInt8(ascii: "\n"))
      let below = isTop ? "" : indent + (isLast ? "    " : "│   ")
      for (index, child) in node.children.enumerated().reversed() {
        let isLast = index == node.children.count - 1
        stack.append((child.node, child.name, below, isLast, false))
      }
    }
    return text
  }
}
