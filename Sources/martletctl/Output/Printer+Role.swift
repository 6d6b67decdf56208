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
    let end = RawText.text(permission.rangeEnd)
    switch permission.rangeEnd {
    case []: print("\t\(key)")
    case [0]: print("\t[\(key), <open ended>")
    case KeyEnd.ofPrefix(permission.key): print("\t[\(key), \(end)) (prefix \(key))")
    default: print("\t[\(key), \(end))")
    }
  }
}
