import MartletClient

/// The examples of `Endpoints.md`, between the marks.
enum EndpointsArticle {
  static func run(_ endpoints: [String], _ print: Printer) async throws {
    // begin
    var configuration = ClientConfiguration(endpoints: endpoints)
    configuration.balancing = .sticky
    configuration.deadline = .seconds(5)
    let client = try Client(configuration)
    // end

    // begin
    try await client.syncMembers()
    print(client.endpoints)
    // end

    await client.close()
  }
}
