import Foundation
import Migration
import Storage
import Testing

/// Files that are not what they should be end in a reason, and leave nothing behind.
@Suite struct DamageTests {
  private let directory = TemporaryDirectory()

  private func importError(_ bytes: [UInt8], skipsHashCheck: Bool = false) throws -> String? {
    let file = try directory.write(bytes, to: "file")
    defer { try? FileManager.default.removeItem(atPath: file) }
    let target = directory.file("data")
    defer { try? FileManager.default.removeItem(atPath: target) }
    do {
      let source = try SnapshotSource(path: file)
      let own = plan(target) { $0.skipsHashCheck = skipsHashCheck }
      _ = try EtcdImport.run(source, own, keepsMembers: false, quiet)
      return nil
    } catch {
      #expect(directory.names == ["file"], "\(error)")
      return "\(error)"
    }
  }

  @Test(arguments: EtcdFile.all)
  func aWrongChecksumIsRefused(file: EtcdFile) throws {
    var bytes = try file.bytes()
    bytes[50_000] ^= 1
    let error = try #require(try importError(bytes))
    #expect(error.contains("expected sha256"), "\(error)")
    // A byte of a value, or of free space, is all that changed.
    _ = try importError(bytes, skipsHashCheck: true)
  }

  @Test(arguments: EtcdFile.all)
  func aMissingChecksumIsRefused(file: EtcdFile) throws {
    let bytes = Array(try file.bytes().dropLast(32))
    let error = try #require(try importError(bytes))
    #expect(error.contains("snapshot missing hash but --skip-hash-check=false"), "\(error)")
    #expect(try importError(bytes, skipsHashCheck: true) == nil)
  }

  @Test func otherFilesAreRefused() throws {
    #expect(try #require(try importError([])).contains("the file is empty"))
    let neither = "neither a snapshot of etcd nor one of Martlet"
    #expect(try #require(try importError(Array("text".utf8))).contains(neither))
    #expect(throws: MigrationError.self) { try SnapshotSource(path: directory.path) }
    #expect(throws: MigrationError.self) { try SnapshotSource(path: directory.file("absent")) }
  }

  @Test(arguments: EtcdFile.all, [100, 4096, 20_480, 45_056, 90_000])
  func cutShort(file: EtcdFile, length: Int) throws {
    let bytes = Array(try file.bytes()[..<length])
    #expect(try #require(try importError(bytes)).contains("missing hash"))
    let error = try #require(try importError(bytes, skipsHashCheck: true))
    #expect(error.contains("cut short"), "\(error)")
  }

  /// Content that is read is sound, or nothing is made of it.
  @Test(arguments: EtcdFile.all, 0..<3)
  func mutationsEndInADirectoryOrAReason(file: EtcdFile, seed: UInt64) throws {
    let whole = try file.bytes()
    var generator = LinearNumbers(state: seed)
    for _ in 0..<12 {
      var bytes = whole
      for _ in 0..<4 {
        let place = Int(generator.next() % UInt64(file.databaseBytes))
        bytes[place] ^= UInt8(1 + generator.next() % 255)
      }
      _ = try importError(bytes, skipsHashCheck: true)
    }
  }

  /// The same of Martlet's own files.
  @Test(arguments: 0..<3)
  func mutationsOfOurOwnEndInADirectoryOrAReason(seed: UInt64) throws {
    let data = directory.file("source")
    _ = try EtcdImport.run(EtcdFile.release34.source(), plan(data), keepsMembers: false, quiet)
    let file = URL(fileURLWithPath: "\(data)/member/db/store.mdb")
    let whole = [UInt8](try Data(contentsOf: file))
    var generator = LinearNumbers(state: seed)
    for _ in 0..<12 {
      var bytes = whole
      for _ in 0..<4 {
        bytes[Int(generator.next() % UInt64(bytes.count))] ^= UInt8(1 + generator.next() % 255)
      }
      let path = try directory.write(bytes, to: "file")
      let target = directory.file("data")
      defer { try? FileManager.default.removeItem(atPath: target) }
      do {
        let source = try SnapshotSource(path: path)
        _ = try SnapshotRestore.run(source, plan(target) { $0.skipsHashCheck = true }, quiet)
      } catch {
        #expect(directory.names == ["file", "source"], "\(error)")
      }
    }
  }
}

/// The same numbers from the same seed.
private struct LinearNumbers {
  var state: UInt64

  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return state >> 16
  }
}
