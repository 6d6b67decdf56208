import Testing

@Suite struct MartletctlTests {}
