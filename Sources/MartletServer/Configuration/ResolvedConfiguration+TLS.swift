import Membership
package import TLS

/// Where the certificate of a member's TLS comes from, and all else about it.
package struct TransportSecurityPlan: Hashable, Sendable {
  /// Without files when `automatic` says that they are to be made.
  package var settings: TLSSettings
  package var automatic: Automatic?

  package struct Automatic: Hashable, Sendable {
    /// The hosts that the certificate is for.
    package var hosts: [String]
    package var validityYears: Int
  }
}

extension ServerConfiguration {
  /// The plan for the addresses that ask for TLS, nil when there are no files and none are to be
  /// made. Checks what can be checked without reading files.
  func transportSecurity(
    _ listeners: [ServerURL]
  ) throws(ConfigurationError) -> TransportSecurityPlan? {
    let tls = clientTLS
    guard tls.certificateFile.isEmpty == tls.keyFile.isEmpty else {
      throw .invalid(
        "--cert-file and --key-file must be given together (found cert-file "
          + "\(tls.certificateFile.debugDescription), key-file \(tls.keyFile.debugDescription))."
      )
    }
    guard (1...SelfSignedCertificate.validityYearsMax).contains(tls.selfSignedValidityYears) else {
      throw .invalid(
        "--self-signed-cert-validity must be from 1 to \(SelfSignedCertificate.validityYearsMax) "
          + "(is \(tls.selfSignedValidityYears))."
      )
    }
    let settings = try clientSecuritySettings()
    guard tls.hasFiles || tls.isAutomatic else {
      for url in listeners where url.isSecure {
        throw .invalid(
          "TLS key/cert (--cert-file, --key-file) must be provided, or made by --auto-tls, for "
            + "client url \(url)."
        )
      }
      return nil
    }
    let hosts = listeners.filter { $0.isSecure && !$0.isUnixSocket }.map(\.host)
    return TransportSecurityPlan(
      settings: settings,
      automatic: tls.hasFiles
        ? nil
        : TransportSecurityPlan.Automatic(hosts: hosts, validityYears: tls.selfSignedValidityYears)
    )
  }

  private func clientSecuritySettings() throws(ConfigurationError) -> TLSSettings {
    let tls = clientTLS
    var settings = try transportSecuritySettings(
      TLSSettings(certificateFile: tls.certificateFile, keyFile: tls.keyFile)
    )
    // As in etcd, naming an authority is to ask for certificates.
    settings.requiresClientCertificate = tls.requiresClientCertificate || !tls.trustedCAFile.isEmpty
    settings.authoritiesFile = tls.trustedCAFile
    settings.revocationFile = tls.revocationFile
    settings.allowedHostNames = tls.allowedClientHostNames
    settings.identifiesClients = tls.requiresClientCertificate
    return settings
  }

  /// `base` with the versions and suites that hold for clients and peers alike.
  func transportSecuritySettings(
    _ base: TLSSettings
  ) throws(ConfigurationError) -> TLSSettings {
    let tls = clientTLS
    var settings = base
    settings.oldestVersion = try Self.version(tls.oldestVersion, "tls-min-version") ?? .tls12
    settings.newestVersion = try Self.version(tls.newestVersion, "tls-max-version") ?? .tls13
    do {
      for name in tls.cipherSuites { settings.cipherSuites.append(try CipherSuite(named: name)) }
      try settings.check()
    } catch {
      throw .invalid("--cipher-suites, --tls-min-version, --tls-max-version: \(error).")
    }
    return settings
  }

  private static func version(
    _ text: String,
    _ flag: String
  ) throws(ConfigurationError) -> TLSProtocolVersion? {
    guard !text.isEmpty else { return nil }
    guard let version = TLSProtocolVersion(rawValue: text) else {
      throw .invalid("--\(flag): expected TLS1.2 or TLS1.3, found \(text.debugDescription).")
    }
    return version
  }
}

extension ResolvedConfiguration {
  /// What the operator should know about the addresses and their TLS.
  var transportSecurityWarnings: [String] {
    let tls = source.clientTLS
    var warnings: [String] = []
    for url in clientListeners + clientHTTPListeners where !url.isSecure {
      if tls.hasFiles {
        warnings.append("\(url) is without TLS, though --cert-file and --key-file are given")
      }
      if tls.requiresClientCertificate {
        warnings.append("\(url) is without TLS, so --client-cert-auth has no effect there")
      }
    }
    if tls.isAutomatic, tls.hasFiles {
      warnings.append("--auto-tls is ignored because --cert-file and --key-file are given")
    }
    if security != nil, tls.requiresClientCertificate, tls.trustedCAFile.isEmpty {
      warnings.append(
        "--client-cert-auth without --trusted-ca-file: clients' certificates are verified against "
          + "this machine's own authorities"
      )
    }
    if security?.settings.requiresClientCertificate != true,
      !tls.revocationFile.isEmpty || !tls.allowedClientHostNames.isEmpty
    {
      warnings.append(
        "--client-crl-file and --client-cert-allowed-hostname need --client-cert-auth or "
          + "--trusted-ca-file: clients are not asked for certificates"
      )
    }
    return warnings
  }
}
