import Proto

extension FieldsText {
  mutating func addRoles(_ roles: [String]) {
    add("Roles", roles.map { GoText.quoted($0) }.joined(separator: " "))
  }
}

extension Printer {
  func role(_ name: String, _ response: Etcdserverpb.AuthRoleGetResponse) {
    message(response) { text in
      text.header(response.header)
      for permission in response.perm {
        text.add("PermType", " \(permission.permType.description)")
        text.add("Key", quoted: permission.key)
        text.add("RangeEnd", quoted: permission.rangeEnd)
      }
    } simple: {
      print("Role \(name)\nKV Read:")
      for permission in response.perm where permission.permType != .write { self.keys(permission) }
      print("KV Write:")
      for permission in response.perm where permission.permType != .read { self.keys(permission) }
    }
  }

  private func keys(_ permission: Authpb.Permission) {
    let key = RawText.text(permission.key)
    guard !permission.rangeEnd.isEmpty else { return print("\t\(key)") }
    let isOpen = permission.rangeEnd == [0]
    let end = isOpen ? "<open ended>" : "\(RawText.text(permission.rangeEnd)))"
    let isPrefix =
      !permission.key.isEmpty && permission.rangeEnd == KeyEnd.ofPrefix(permission.key)
    print("\t[\(key), \(end)\(isPrefix ? " (prefix \(key))" : "")")
  }
}
