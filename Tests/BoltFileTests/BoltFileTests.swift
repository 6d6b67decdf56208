import Testing

@Suite struct BoltFileTests {}
