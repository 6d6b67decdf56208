import Base
import Testing

@Suite struct ByteWriterTests {
  private func bytes(_ write: (inout ByteWriter) -> Void) -> [UInt8] {
    var writer = ByteWriter(capacity: 1)
    write(&writer)
    return [UInt8](writer.bytes)
  }

  /// Examples of the protobuf encoding guide, and the largest value.
  @Test(
    arguments: [
      (UInt64(0), [0x00]), (1, [0x01]), (127, [0x7F]), (128, [0x80, 0x01]), (150, [0x96, 0x01]),
      (16_384, [0x80, 0x80, 0x01]),
      (.max, [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]),
    ] as [(UInt64, [UInt8])]
  )
  func varints(value: UInt64, expected: [UInt8]) {
    #expect(bytes { $0.append(varint: value) } == expected)
  }

  @Test func varintLengthIsWhatIsWritten() {
    for shift in 0..<64 {
      for value in [UInt64(1) << shift, (UInt64(1) << shift) - 1, (UInt64(1) << shift) + 1] {
        #expect(ByteWriter.varintLength(value) == bytes { $0.append(varint: value) }.count)
      }
    }
    #expect(ByteWriter.varintLength(.max) == 10)
  }

  @Test func defaultsAreLeftOut() {
    #expect(bytes { $0.append(field: 3, varint: UInt64(0)) }.isEmpty)
    #expect(bytes { $0.append(field: 3, varint: Int64(-1)) }.count == 11)
  }

  @Test func closeFieldWrapsWhatWasWritten() {
    for length in [0, 1, 127, 128, 20_000] {
      let content = [UInt8](repeating: 7, count: length)
      let wrapped = bytes { writer in
        writer.append(byte: 9)
        let start = writer.count
        content.withUnsafeBytes { writer.append($0) }
        writer.closeField(100, since: start)
      }
      let direct = bytes { writer in
        writer.append(byte: 9)
        content.withUnsafeBytes { writer.append(field: 100, content: $0) }
      }
      #expect(wrapped == direct)
    }
  }

  @Test func growthKeepsTheContent() {
    var writer = ByteWriter(capacity: 1)
    for value in 0..<10_000 { writer.append(integer: UInt32(value).littleEndian) }
    writer.overwrite(integer: UInt32(77).littleEndian, at: 4 * 5000)
    for value in 0..<10_000 {
      let read = writer.bytes.loadUnaligned(fromByteOffset: 4 * value, as: UInt32.self)
      #expect(UInt32(littleEndian: read) == (value == 5000 ? 77 : UInt32(value)))
    }
  }

  @Test func aTakenBlockIsIndependent() {
    var writer = ByteWriter()
    writer.append(integer: UInt8(1))
    let block = writer.takeBlock()
    writer.append(integer: UInt8(2))
    #expect([UInt8](block.bytes) == [1])
    #expect([UInt8](writer.bytes) == [2])
    #expect(SharedBytes(block) == SharedBytes([1]))
  }
}

@Suite struct SharedBytesTests {
  @Test func slicesShareTheirBlock() {
    var writer = ByteWriter()
    for value in 0..<10 as Range<UInt8> { writer.append(byte: value) }
    let block = writer.takeBlock()
    let slice = SharedBytes(block, 3..<6)
    #expect(slice.array == [3, 4, 5])
    #expect(slice == SharedBytes([3, 4, 5]))
    #expect(slice != SharedBytes([3, 4]))
    #expect(SharedBytes() == SharedBytes([]))
    #expect(SharedBytes().isEmpty)
  }

  @Test func identifiersPrintAsEtcdPrintsThem() {
    #expect("\(MemberID(0x8e9e_05c5_2164_694d))" == "8e9e05c52164694d")
    #expect("\(LeaseID(-1))" == "ffffffffffffffff")
    #expect("\(ChangeRevision(main: 4, sub: 1))" == "4_1")
  }
}
