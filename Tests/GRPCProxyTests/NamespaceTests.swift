import Proto
import Testing

@testable import GRPCProxy

@Suite struct NamespaceTests {
  private let space = Namespace(Array("ns/".utf8))

  private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

  @Test("keys go in with the prefix and come out without it")
  func keys() {
    #expect(space.inward(bytes("a")) == bytes("ns/a"))
    #expect(space.outward(bytes("ns/a")) == bytes("a"))
    #expect(space.inward([]) == [], "a key that is missing stays missing")
    #expect(space.inward(rangeEnd: []) == [])
    #expect(space.inward(rangeEnd: bytes("b")) == bytes("ns/b"))
  }

  @Test(
    "all keys from one on end with the namespace",
    arguments: [
      ([0x61], [0x62]), ([0x61, 0xff], [0x62]), ([0xff], [0]), ([0x61, 0x62], [0x61, 0x63]),
    ] as [([UInt8], [UInt8])]
  )
  func open(prefix: [UInt8], end: [UInt8]) {
    #expect(Namespace(prefix).inward(rangeEnd: [0]) == end)
  }

  @Test("transactions within transactions are rewritten in all their parts")
  func nested() {
    let put = Etcdserverpb.RequestOp(request: .requestPut(.init(key: bytes("p"))))
    let inner = Etcdserverpb.TxnRequest(
      compare: [.init(key: bytes("c"), rangeEnd: bytes("d"))],
      failure: [.init(request: .requestDeleteRange(.init(key: bytes("x"), rangeEnd: [0])))]
    )
    var outer = Etcdserverpb.TxnRequest(
      success: [put, .init(request: .requestTxn(inner))],
      failure: [.init(request: .requestRange(.init(key: bytes("r"))))]
    )
    space.inward(&outer)
    #expect(outer.success[0].request == .requestPut(.init(key: bytes("ns/p"))))
    #expect(outer.failure[0].request == .requestRange(.init(key: bytes("ns/r"))))
    guard case .requestTxn(let found)? = outer.success[1].request else {
      Issue.record("\(outer)")
      return
    }
    #expect(found.compare == [.init(key: bytes("ns/c"), rangeEnd: bytes("ns/d"))])
    #expect(
      found.failure[0].request
        == .requestDeleteRange(.init(key: bytes("ns/x"), rangeEnd: bytes("ns0")))
    )
  }

  @Test("a watch without a key is one from the first on")
  func watch() {
    var request = Etcdserverpb.WatchCreateRequest(rangeEnd: [0])
    space.inward(&request)
    #expect(request.key == bytes("ns/") + [0])
    #expect(request.rangeEnd == bytes("ns0"))
  }

  @Test("bytes that are no message are an error, not a crash")
  func garbage() {
    let garbage: [UInt8] = [0x0a, 0xff, 0xff, 0xff]
    for kind in [ProxiedMethod.Kind.range, .put, .deleteRange, .txn, .lock, .campaign, .resign] {
      #expect(throws: DecodeError.self, "\(kind)") {
        try garbage.withUnsafeBytes { bytes in _ = try space.inward(bytes, of: kind) }
      }
    }
  }
}

@Suite struct RegistrationTests {
  @Test("what is written is read again", arguments: ["host", #"a "quoted\" name"#, "naïve\n"])
  func roundTrip(name: String) {
    let registration = Registration(address: "127.0.0.1:23790", name: name)
    #expect(Registration(reading: Array(registration.text.utf8)) == registration)
  }

  @Test("etcd's text, of 3.4 and of newer ones")
  func reads() {
    let old = #"{"Op":0,"Addr":"127.0.0.1:12390","Metadata":"{\"name\":\"vm\"}"}"#
    #expect(Registration(address: "127.0.0.1:12390", name: "vm").text == old)
    let new = #"{"Op":0, "Addr" : "a:1", "Metadata": {"name": "vm2"}}"#
    #expect(
      Registration(reading: Array(new.utf8)) == Registration(address: "a:1", name: "vm2")
    )
  }

  @Test(
    "what is none",
    arguments: ["", "{}", "null", #"{"Addr":3}"#, #"{"Addr":"#, #"{"Addr":"a"#, #"{"Addr":"\u12"#]
  )
  func refuses(text: String) {
    #expect(Registration(reading: Array(text.utf8)) == nil)
  }
}
