/// Why TLS settings or files were refused; `description` is meant for the operator.
package enum TLSError: Error, Hashable, CustomStringConvertible {
  case unreadable(file: String, reason: String)
  case badCertificate(file: String, reason: String)
  case badKey(file: String, reason: String)
  /// The key belongs to another certificate.
  case mismatch(certificateFile: String, keyFile: String)
  case badAuthorities(file: String, reason: String)
  case badRevocationList(file: String, reason: String)
  case unknownCipherSuite(String)
  /// A suite that Go knows and that is not built in here, because it is broken.
  case unsupportedCipherSuite(String)
  case unfitCipherSuites(String)
  case badVersions(oldest: String, newest: String)
  case cannotWrite(file: String, reason: String)
  case failed(String)

  package var description: String {
    switch self {
    case .unreadable(let file, let reason): "cannot read \(file): \(reason)"
    case .badCertificate(let file, let reason): "\(file) holds no usable certificate: \(reason)"
    case .badKey(let file, let reason): "\(file) holds no usable private key: \(reason)"
    case .mismatch(let certificateFile, let keyFile):
      "the private key in \(keyFile) does not match the certificate in \(certificateFile)"
    case .badAuthorities(let file, let reason):
      "\(file) holds no usable certificates of authorities: \(reason)"
    case .badRevocationList(let file, let reason):
      "\(file) holds no usable revocation list: \(reason)"
    case .unknownCipherSuite(let name): "unexpected TLS cipher suite \(name.debugDescription)"
    case .unsupportedCipherSuite(let name):
      "TLS cipher suite \(name) is broken and not supported; leave it out"
    case .unfitCipherSuites(let reason): reason
    case .badVersions(let oldest, let newest):
      "the oldest TLS version allowed, \(oldest), is newer than the newest, \(newest)"
    case .cannotWrite(let file, let reason): "cannot write \(file): \(reason)"
    case .failed(let reason): reason
    }
  }
}
