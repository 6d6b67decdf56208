// For tests of what a client holds.
extension Client {
  /// How many streams carry watches that share one.
  package var sharedWatchStreamCount: Int {
    caller.endpoints.all.reduce(0) { $0 + $1.watchStreamCount }
  }

  /// The objects that live as long as the client, or as its connections.
  package var parts: [AnyObject] {
    [caller, caller.endpoints, caller.telemetry]
      + caller.endpoints.all.flatMap { [$0, $0.client] as [AnyObject] + $0.watchStreamObjects }
  }
}
