import JSONGateway
import Proto
import Testing

/// What JSON means, as etcd 3.4's gateway answered when it was asked, but for what is said to differ.
struct MappingTests {
  typealias Range = Etcdserverpb.RangeRequest

  @Test func namesOfBothKinds() throws {
    let request = try parse(
      #"{"key":"Zm9v","rangeEnd":"AA==","sort_order":"ASCEND","sortTarget":1,"keys_only":true}"#,
      as: Range.self
    )
    #expect(request.key == Array("foo".utf8))
    #expect(request.rangeEnd == [0])
    #expect(request.sortOrder == .ascend)
    #expect(request.sortTarget == .version)
    #expect(request.keysOnly)
  }

  @Test func integersAsNumbersAndStrings() throws {
    #expect(try parse(#"{"limit":"5"}"#, as: Range.self).limit == 5)
    #expect(try parse(#"{"limit":-5}"#, as: Range.self).limit == -5)
    #expect(try parse(#"{"limit":" 3"}"#, as: Range.self).limit == 3)
    let least = try parse(#"{"limit":-9223372036854775808}"#, as: Range.self)
    #expect(least.limit == .min)
    let most = try parse(#"{"member_id":"18446744073709551615"}"#, as: Header.self)
    #expect(most.memberID == .max)
  }

  typealias Header = Etcdserverpb.ResponseHeader

  @Test func base64OfAllKinds() throws {
    for text in ["+/8=", "-_8=", "+/8", "-_8", "+\\n/8=", "+\\/8="] {
      let request = try parse(#"{"key":"\#(text)"}"#, as: Range.self)
      #expect(request.key == [0xFB, 0xFF], "\(text)")
    }
    #expect(try parse(#"{"key":"AB=="}"#, as: Range.self).key == [0])
    #expect(try parse(#"{"key":"AA"}"#, as: Range.self).key == [0])
    #expect(try parse(#"{"key":""}"#, as: Range.self).key.isEmpty)
  }

  @Test func nullsAndNothingAreDefaults() throws {
    for text in ["", "  ", "null", "{}", #"{"key":null,"limit":null}"#] {
      #expect(try parse(text, as: Range.self) == Range(), "\(text)")
    }
    let txn = try parse(#"{"compare":null,"failure":[]}"#, as: Etcdserverpb.TxnRequest.self)
    #expect(txn == Etcdserverpb.TxnRequest())
  }

  @Test func theLastOfANameOrOneofCounts() throws {
    #expect(try parse(#"{"limit":1,"limit":2}"#, as: Range.self).limit == 2)
    #expect(try parse(#"{"limit":1,"limit":null}"#, as: Range.self).limit == 0)
    let operation = try parse(
      #"{"request_range":{"key":"AA=="},"requestPut":{"key":"AQ=="}}"#,
      as: Etcdserverpb.RequestOp.self
    )
    #expect(operation.request == .requestPut(Etcdserverpb.PutRequest(key: [1])))
  }

  @Test func unknownNamesAndWhatFollowsArePassedOver() throws {
    #expect(try parse(#"{"x":{"y":[1,{"z":null}]},"limit":2} trailing"#, as: Range.self).limit == 2)
    #expect(try parse(#"{"LIMIT":2}"#, as: Range.self).limit == 0)
    #expect(try parse(#"{"l\u0069mit":2}"#, as: Range.self).limit == 2)
  }

  @Test func explicitDefaultsInAOneofStay() throws {
    let compare = try parse(#"{"version":"0"}"#, as: Etcdserverpb.Compare.self)
    #expect(compare.targetUnion == .version(0))
    #expect(try json(compare) == #"{"version":"0"}"#)
    let request = try parse(#"{"progress_request":{}}"#, as: Etcdserverpb.WatchRequest.self)
    #expect(request.requestUnion == .progressRequest(Etcdserverpb.WatchProgressRequest()))
  }

  @Test func texts() throws {
    let text = #"{"name":"<a>&\u2028 \u00e9 \"q\" \\ \u0001\t\ud83d\udc26\ud800\/"}"#
    let role = try parse(text, as: Etcdserverpb.AuthRoleAddRequest.self)
    #expect(role.name == "<a>&\u{2028} é \"q\" \\ \u{1}\t🐦\u{FFFD}/")
    #expect(
      try json(role)
        == #"{"name":"\u003ca\u003e\u0026\u2028 é \"q\" \\ \u0001\t🐦�/"}"#
    )
  }

  @Test func textThatIsNotUTF8() throws {
    let text = Array(#"{"name":""#.utf8) + [0xFF, 0xFE] + Array(#""}"#.utf8)
    let type = descriptor(Etcdserverpb.AuthRoleAddRequest.self)
    let role = try Etcdserverpb.AuthRoleAddRequest(
      decoding: Transcoder.message(type, fromJSON: text)
    )
    #expect(role.name == "\u{FFFD}\u{FFFD}")
  }

  @Test func outputLeavesDefaultsOut() throws {
    var response = Etcdserverpb.RangeResponse()
    response.header = Header(clusterID: .max, memberID: 1, revision: 2, raftTerm: 3)
    response.kvs = [
      Mvccpb.KeyValue(
        key: Array("foo".utf8),
        createRevision: 2,
        modRevision: 2,
        version: 1,
        value: Array("bar".utf8)
      )
    ]
    response.count = 1
    let header =
      #"{"cluster_id":"18446744073709551615","member_id":"1","revision":"2","raft_term":"3"}"#
    let kv =
      #"{"key":"Zm9v","create_revision":"2","mod_revision":"2","version":"1","value":"YmFy"}"#
    #expect(try json(response) == #"{"header":\#(header),"kvs":[\#(kv)],"count":"1"}"#)
    #expect(try json(Etcdserverpb.AlarmResponse()) == "{}")
  }

  @Test func enumsAreNames() throws {
    var permission = Authpb.Permission()
    permission.permType = .write
    #expect(try json(permission) == #"{"permType":"WRITE"}"#)
    permission.permType = Authpb.Permission.Kind(rawValue: 77)
    #expect(try json(permission) == #"{"permType":77}"#)
  }

  @Test(arguments: [
    (#"{"key":"Zm9v""#, "unexpected EOF"),
    (#"{"key":"Zm9v"#, "unexpected EOF"),
    (#"{bad"#, "invalid character 'b' looking for beginning of object key string"),
    (#"[]"#, "json: cannot unmarshal array into Go value of type map[string]json.RawMessage"),
    (#"{"key":"!!"}"#, "illegal base64 data at input byte 0"),
    (#"{"key":5}"#, "json: cannot unmarshal number into Go value of type []uint8"),
    (
      #"{"sort_order":"FOO"}"#,
      #"unknown value "FOO" for enum etcdserverpb.RangeRequest_SortOrder"#
    ),
    (#"{"limit":1.5}"#, "json: cannot unmarshal number 1.5 into Go value of type int64"),
    (#"{"limit":"1e2"}"#, "json: cannot unmarshal number 1e2 into Go value of type int64"),
    (
      #"{"limit":99999999999999999999}"#,
      "json: cannot unmarshal number 99999999999999999999 into Go value of type int64"
    ),
    (#"{"limit":""}"#, "unexpected end of JSON input"),
    (#"{"limit":true}"#, "json: cannot unmarshal bool into Go value of type int64"),
    (#"{"limit":{}}"#, "json: cannot unmarshal object into Go value of type int64"),
    (#"{"keys_only":"true"}"#, "json: cannot unmarshal string into Go value of type bool"),
    (#"{"key":"A"}"#, "illegal base64 data at input byte 1"),
    (#"{"key":"AA==="}"#, "illegal base64 data at input byte 5"),
    (#"{"key":nul}"#, "invalid character '}' in literal null (expecting 'l')"),
    (#"{"key":"a"# + "\n\"}", "invalid character '\\x0a' in string literal"),
    (#"{"key":"\x"}"#, "invalid character 'x' in string escape code"),
    (#"{"key" 1}"#, "invalid character '1' after object key"),
    (#"{"limit":1 2}"#, "invalid character '2' after object key:value pair"),
    (#"{"limit":[1 2]}"#, "invalid character '2' after array element"),
    (#"{"limit":-}"#, "invalid character '}' in numeric literal"),
    (#"{"limit":1.}"#, "invalid character '}' after decimal point in numeric literal"),
    (#"{"limit":,}"#, "invalid character ',' looking for beginning of value"),
  ])
  func faults(text: String, message: String) throws {
    do {
      let request = try parse(text, as: Range.self)
      Issue.record("\(text) gave \(request)")
    } catch let error as Transcoder.InputError {
      #expect(error.description == message)
    }
  }

  @Test func faultsInLists() {
    for text in [#"{"compare":{"key":""}}"#, #"{"compare":[null]}"#, #"{"compare":[1]}"#] {
      #expect(throws: Transcoder.InputError.self, "\(text)") {
        try parse(text, as: Etcdserverpb.TxnRequest.self)
      }
    }
  }

  @Test func severalObjectsInOneBody() throws {
    let text = #"{"ID":1} {"ID":"2"}"# + "\n" + #"{"ID":3}{bad"#
    var messages = JSONMessageSequence(
      descriptor(Etcdserverpb.LeaseKeepAliveRequest.self),
      text: Array(text.utf8)
    )
    for id in 1...3 {
      let bytes = try #require(try messages.next())
      #expect(try Etcdserverpb.LeaseKeepAliveRequest(decoding: bytes).id == Int64(id))
    }
    #expect(throws: Transcoder.InputError.self) { try messages.next() }
  }
}
