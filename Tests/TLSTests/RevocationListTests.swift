import Foundation
import SwiftASN1
import TLS
import Testing
import X509

@Suite struct RevocationListTests {
  private static let serials: [Certificate.SerialNumber] = [
    .init(1), .init(0x80), .init(0xff00), .init(bytes: Array(repeating: 0xab, count: 20)),
  ]

  @Test(arguments: [true, false])
  func derAndPEMSayTheSame(hasNextUpdate: Bool) throws {
    let authority = try Authority()
    let bytes = try authority.revocationList(Self.serials, hasNextUpdate: hasNextUpdate)
    let text = PEMDocument(type: "X509 CRL", derBytes: bytes).pemString
    for content in [bytes, Array(text.utf8)] {
      let list = try RevocationList(content, authorities: [authority.certificate])
      #expect(list.count == Self.serials.count)
      #expect(list.isVerified)
      for serial in Self.serials {
        #expect(list.contains(serial: serial.bytes), "\(serial)")
        #expect(list.contains(serial: [0] + serial.bytes), "a zero in front changes nothing")
      }
      #expect(!list.contains(serial: [2]))
      #expect(!list.contains(serial: [0xff]))
      #expect(!list.contains(serial: [1, 0]))
    }
  }

  @Test func anEmptyListRevokesNothing() throws {
    let authority = try Authority()
    let list = try RevocationList(
      try authority.revocationList([]),
      authorities: [authority.certificate]
    )
    #expect(list.count == 0)
    #expect(!list.contains(serial: [1]))
  }

  @Test func aForgedListIsRefused() throws {
    let authority = try Authority()
    let forged = try authority.revocationList([.init(7)], signer: try Authority().key)
    let error = #expect(throws: RevocationList.Unusable.self) {
      try RevocationList(forged, authorities: [authority.certificate])
    }
    #expect(error?.reason.contains("signature") == true)
    // Of an issuer that is not known nothing can be said.
    let list = try RevocationList(forged, authorities: [try Authority("other").certificate])
    #expect(!list.isVerified)
    #expect(list.contains(serial: [7]))
  }

  @Test func aListThatIsNoneIsRefused() throws {
    let authority = try Authority()
    let good = try authority.revocationList(Self.serials)
    let others: [[UInt8]] = [
      [], [0x30], [0x30, 0], Array("nonsense".utf8), [0xff, 0xfe],
      Array(try authority.pem.utf8), good.dropLast(), Array(good.prefix(40)), good + [0],
    ]
    for bytes in others {
      #expect(throws: RevocationList.Unusable.self, "\(bytes.prefix(20))") {
        try RevocationList(bytes, authorities: [authority.certificate])
      }
    }
  }

  /// Whatever is changed, the list is refused or still says what the signature says.
  @Test func changedBytesNeverCrash() throws {
    let authority = try Authority()
    let good = try authority.revocationList(Self.serials)
    for index in good.indices {
      for bit in [UInt8(1), 0x20, 0x80] {
        var bytes = good
        bytes[index] ^= bit
        guard let list = try? RevocationList(bytes, authorities: [authority.certificate]) else {
          continue
        }
        // Only the signature's algorithm and the issuer's name could be changed unseen: then
        // nothing vouches for the list, and it says so.
        let isSame = Self.serials.allSatisfy { list.contains(serial: $0.bytes) }
        #expect(!list.isVerified || isSame, "byte \(index), bit \(bit)")
      }
    }
  }
}
