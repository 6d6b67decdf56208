import Testing

@Suite struct GRPCProxyTests {}
