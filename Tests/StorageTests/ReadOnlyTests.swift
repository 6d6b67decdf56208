import Base
import Glibc
import Storage
import Testing

/// A copy that is opened for reading alone.
@Suite struct ReadOnlyTests {
  private let directory = TemporaryDirectory()

  private var options: LMDBStorage.Options {
    var options = LMDBStorage.Options()
    options.isReadOnly = true
    return options
  }

  @Test func nothingIsChangedNorLocked() throws {
    let source = TieredStorage(over: try LMDBStorage(path: directory.file("source")))
    for main in 2...500 {
      let revision = ChangeRevision(main: Int64(main), sub: 0)
      source.append(revision, Record(tombstone: false, bytes: [UInt8(main & 0xFF)]))
    }
    try source.flush([("applied", littleEndian(500))])
    let path = directory.file("copy")
    try source.copySnapshot(to: path)
    chmod(path, 0o400)
    let names = directory.names.sorted()
    let first = try LMDBStorage(path: path, options: options)
    // Another one beside it, since neither locks.
    let second = try LMDBStorage(path: path, options: options)
    #expect(try first.contents().count == 499)
    #expect(try second.contents().count == 499)
    #expect(integer(try first.metadata("applied")) == 500)
    #expect(directory.names.sorted() == names)
    #expect(throws: StorageError.self) {
      try first.commit(RevisionBatch(metadata: [("applied", littleEndian(501))]))
    }
    #expect(integer(try second.metadata("applied")) == 500)
    #expect(directory.names.sorted() == names)
  }

  @Test func whatIsNotThereIsNotMade() {
    #expect(throws: StorageError.self) {
      try LMDBStorage(path: directory.file("absent"), options: options)
    }
    #expect(directory.names == [])
  }
}
