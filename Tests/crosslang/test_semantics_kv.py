"""The sections Revisions, Range, Put, Txn and Compact of contract/semantics.md, line by line.

Random requests, compared with etcd's answers, are test_python_client.py's; here each line stands
alone. SEMANTICS.md says which test is which.
"""

import pytest

from semantics import Code, Server, failure, prefix_end

NO_KEY = (Code.INVALID_ARGUMENT, "etcdserver: key is not provided")
KEY_NOT_FOUND = (Code.INVALID_ARGUMENT, "etcdserver: key not found")
BAD_SORT = (Code.INVALID_ARGUMENT, "etcdserver: invalid sort option")
TOO_MANY = (Code.INVALID_ARGUMENT, "etcdserver: too many operations in txn request")
DUPLICATE = (Code.INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request")
FUTURE = (Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision")
COMPACTED = (Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted")
VERSION, CREATE, MOD, VALUE, LEASE = range(5)
EQUAL, GREATER, LESS, NOT_EQUAL = range(4)
ASCEND, DESCEND = 1, 2
BY_VERSION, BY_CREATE, BY_MOD, BY_VALUE = range(1, 5)


def keys(reply, key):
    return [kv.key[len(key):].decode() for kv in reply.kvs]


def fill(server, key, names="abcde"):
    for name in names:
        server.put(key + name.encode(), b"value of " + name.encode())


def nested(server, *operations, **options):
    return server.pb.RequestOp(request_txn=server.pb.TxnRequest(success=operations, **options))


# Revisions.


def test_the_first_revisions(stubs, server):
    with Server(server.kind) as fresh:
        assert fresh.get(b"k").header.revision == 1
        assert fresh.put(b"k").header.revision == 2
        assert fresh.get(b"k").header.revision == 2


def test_one_request_makes_one_revision(server, key):
    before = server.revision()
    done = server.txn(*[server.op_put(key + b"%d" % i) for i in range(50)],
                      server.op_delete(key + b"nothing"))
    assert done.header.revision == before + 1 == server.revision()
    assert {kv.mod_revision for kv in server.get(key, prefix_end(key)).kvs} == {before + 1}
    assert server.delete(key, prefix_end(key)).header.revision == before + 2


def test_what_makes_no_revision(server, key):
    before = server.put(key).header.revision
    assert server.delete(key + b"nothing").header.revision == before
    assert server.txn().header.revision == before
    assert server.txn(server.op_get(key)).header.revision == before
    assert server.txn(server.op_delete(key + b"nothing")).header.revision == before
    missed = server.kv.Txn(server.pb.TxnRequest(
        compare=[server.pb.Compare(key=key, target=VERSION, version=7)],
        success=[server.op_put(key)]))
    assert not missed.succeeded and missed.header.revision == before == server.revision()


def test_the_life_of_a_key(server, key):
    born = server.put(key, b"1").header.revision
    changed = server.put(key, b"2").header.revision
    (pair,) = server.get(key).kvs
    assert (pair.create_revision, pair.mod_revision, pair.version, pair.lease) == (
        born, changed, 2, 0)
    server.delete(key)
    again = server.put(key, b"3").header.revision
    (pair,) = server.get(key).kvs
    assert (pair.create_revision, pair.mod_revision, pair.version) == (again, again, 1)


def test_a_read_of_the_past_tells_the_present_revision(server, key):
    old = server.put(key, b"1").header.revision
    now = server.put(key, b"2").header.revision
    reply = server.get(key, revision=old)
    assert reply.kvs[0].value == b"1" and reply.header.revision == now


# Range.


def test_ranges(server, key):
    fill(server, key)
    at = lambda first, last: keys(server.get(key + first, last), key)
    assert at(b"b", b"") == ["b"]
    assert at(b"b", key + b"d") == ["b", "c"]
    assert at(b"d", b"\0")[:2] == ["d", "e"]
    assert at(b"d", key + b"b") == at(b"d", key + b"d") == []
    everything = server.get(b"\0", b"\0")
    assert everything.count >= 5 and everything.kvs[0].key <= key + b"a"


def test_range_errors(server, key):
    assert failure(server.get, b"") == NO_KEY
    assert failure(server.get, b"", b"x") == NO_KEY
    if server.kind == "etcd":
        return  # 3.4 and 3.5.16 take an order that there is not, and die of a target that there is not.
    for options in ({"sort_order": 7}, {"sort_target": 9}, {"sort_order": -1}):
        assert failure(server.get, key, **options) == BAD_SORT


def test_reads_of_the_future(server, key):
    now = server.put(key).header.revision
    assert server.get(key, revision=now).count == 1
    assert failure(server.get, key, revision=now + 1) == FUTURE


def test_compacted_reads(server, key):
    revisions = [server.put(key, b"%d" % i).header.revision for i in range(3)]
    server.compact(revisions[1])
    assert failure(server.get, key, revision=revisions[0]) == COMPACTED
    assert server.get(key, revision=revisions[1]).kvs[0].value == b"1"


def test_count_more_and_limit(server, key):
    fill(server, key)
    end = prefix_end(key)
    reply = server.get(key, end, limit=2)
    assert (keys(reply, key), reply.count, reply.more) == (["a", "b"], 5, True)
    reply = server.get(key, end, limit=5)
    assert (len(reply.kvs), reply.count, reply.more) == (5, 5, False)
    first = reply.kvs[0].mod_revision
    reply = server.get(key, end, min_mod_revision=first + 1, limit=2)
    assert (keys(reply, key), reply.count, reply.more) == (["b", "c"], 5, True)
    reply = server.get(key, end, max_create_revision=first + 1)
    assert (keys(reply, key), reply.count, reply.more) == (["a", "b"], 5, False)
    reply = server.get(key, end, min_create_revision=first + 3, max_mod_revision=first + 3)
    assert (keys(reply, key), reply.count) == (["d"], 5)


def test_sorting(server, key):
    for name, value in (("a", b"3"), ("b", b"1"), ("c", b"2")):
        server.put(key + name.encode(), value)
    server.put(key + b"a", b"3")
    end = prefix_end(key)
    at = lambda **options: keys(server.get(key, end, **options), key)
    assert at(sort_order=DESCEND) == ["c", "b", "a"]
    assert at(sort_target=BY_VALUE) == at(sort_target=BY_VALUE, sort_order=ASCEND) == ["b", "c", "a"]
    assert at(sort_target=BY_VALUE, sort_order=DESCEND) == ["a", "c", "b"]
    assert at(sort_target=BY_MOD) == ["b", "c", "a"]
    assert at(sort_target=BY_VERSION, sort_order=DESCEND)[0] == "a"
    assert at(sort_target=BY_CREATE, sort_order=DESCEND, limit=1) == ["c"]


def test_keys_only_and_count_only(server, key):
    fill(server, key)
    reply = server.get(key, prefix_end(key), keys_only=True)
    assert keys(reply, key) == list("abcde") and not any(kv.value for kv in reply.kvs)
    assert all(kv.version == 1 for kv in reply.kvs)
    reply = server.get(key, prefix_end(key), count_only=True, limit=2)
    assert (len(reply.kvs), reply.count) == (0, 5)


# Put, DeleteRange.


def test_ignore_value(server, key):
    assert failure(server.put, key, ignore_value=True) == KEY_NOT_FOUND
    server.put(key, b"kept")
    assert failure(server.put, key, b"x", ignore_value=True) == (
        Code.INVALID_ARGUMENT, "etcdserver: value is provided")
    server.put(key, ignore_value=True)
    (pair,) = server.get(key).kvs
    assert (pair.value, pair.version) == (b"kept", 2)
    assert failure(server.put, key + b"nothing", b"x", ignore_lease=True) == KEY_NOT_FOUND
    assert failure(server.put, key, b"x", lease=5, ignore_lease=True) == (
        Code.INVALID_ARGUMENT, "etcdserver: lease is provided")


def test_prev_kv(server, key):
    assert not server.put(key, b"1", prev_kv=True).HasField("prev_kv")
    was = server.get(key).kvs[0]
    assert server.put(key, b"", prev_kv=True).prev_kv == was
    (pair,) = server.get(key).kvs
    assert pair.value == b""
    server.put(key + b"2", b"x")
    deleted = server.delete(key, prefix_end(key), prev_kv=True)
    assert deleted.deleted == 2 and [kv.key for kv in deleted.prev_kvs] == [key, key + b"2"]
    assert not server.delete(key, prefix_end(key), prev_kv=True).prev_kvs


def test_large_requests(server, key):
    server.put(key, b"x" * 1_500_000)
    assert failure(server.put, key, b"x" * 1_573_000) == (
        Code.INVALID_ARGUMENT, "etcdserver: request is too large")
    assert failure(server.put, key, b"x" * (1_572_864 + 512 * 1024 + 100))[0] == (
        Code.RESOURCE_EXHAUSTED)


# Txn.


def compare(server, key, target, result=EQUAL, range_end=b"", **value):
    return server.kv.Txn(server.pb.TxnRequest(compare=[server.pb.Compare(
        key=key, range_end=range_end, target=target, result=result, **value)])).succeeded


def test_compares(server, key):
    lease = server.grant(5000).ID
    server.put(key, b"b", lease=lease)
    server.put(key, b"m", lease=lease)
    (pair,) = server.get(key).kvs
    for target, name, below, value, above in (
            (VERSION, "version", 1, 2, 3),
            (CREATE, "create_revision", 0, pair.create_revision, pair.create_revision + 1),
            (MOD, "mod_revision", 0, pair.mod_revision, pair.mod_revision + 1),
            (VALUE, "value", b"b", b"m", b"z"), (LEASE, "lease", 0, lease, (1 << 63) - 1)):
        for asked, results in ((below, {GREATER, NOT_EQUAL}), (value, {EQUAL}),
                               (above, {LESS, NOT_EQUAL})):
            got = {r for r in range(4) if compare(server, key, target, r, **{name: asked})}
            assert got == results, (name, asked)
    server.revoke(lease)


def test_compares_of_a_missing_key(server, key):
    for target, name in ((VERSION, "version"), (CREATE, "create_revision"),
                         (MOD, "mod_revision"), (LEASE, "lease")):
        assert compare(server, key, target, EQUAL, **{name: 0})
        assert compare(server, key, target, LESS, **{name: 1})
    for result in range(4):
        for value in (b"", b"x"):
            assert not compare(server, key, VALUE, result, value=value)


def test_compares_of_a_range(server, key):
    fill(server, key)
    first, end = key + b"a", key + b"d"
    assert compare(server, first, VERSION, EQUAL, range_end=end, version=1)
    server.put(key + b"b")
    assert not compare(server, first, VERSION, EQUAL, range_end=end, version=1)
    assert compare(server, first, VERSION, GREATER, range_end=end, version=0)
    # semantics.md says that an empty range is true. etcd takes it for one key that is missing.
    none = {"range_end": key + b"z"}
    assert compare(server, key + b"x", VERSION, EQUAL, version=0, **none)
    assert not compare(server, key + b"x", VERSION, EQUAL, version=9, **none)
    assert compare(server, key + b"x", VERSION, LESS, version=9, **none)
    for result in range(4):
        assert not compare(server, key + b"x", VALUE, result, value=b"q", **none)


def test_all_compares_must_hold(server, key):
    server.put(key, b"1")
    pb = server.pb
    yes = pb.Compare(key=key, target=VERSION, version=1)
    no = pb.Compare(key=key, target=VERSION, version=2)
    for compares, wanted in (([], True), ([yes, yes], True), ([yes, no], False), ([no], False)):
        reply = server.kv.Txn(pb.TxnRequest(
            compare=compares, success=[server.op_put(key + b"yes")],
            failure=[server.op_put(key + b"no"), server.op_get(key)]))
        assert reply.succeeded == wanted and len(reply.responses) == (1 if wanted else 2)


def test_operations_see_those_before_them(server, key):
    server.put(key + b"2", b"x")
    reply = server.txn(
        server.op_get(key), server.op_put(key, b"1"), server.op_get(key),
        server.op_delete(key + b"2"), server.op_get(key + b"2"),
        # Compares, those of nested txns too, are of the state before the whole txn.
        nested(server, server.op_get(key), compare=[
            server.pb.Compare(key=key, target=VERSION, version=0)]))
    counts = [r.response_range.count for r in reply.responses if r.HasField("response_range")]
    assert counts == [0, 1, 0]
    inner = reply.responses[-1].response_txn
    assert inner.succeeded and inner.responses[0].response_range.kvs[0].value == b"1"


def test_max_txn_ops(server, key):
    pb = server.pb
    op = lambda i: server.op_get(key + b"%d" % i)
    check = pb.Compare(key=key, target=VERSION, version=0)
    server.txn(*[op(i) for i in range(128)])
    assert failure(server.txn, *[op(i) for i in range(129)]) == TOO_MANY
    server.kv.Txn(pb.TxnRequest(compare=[check] * 128, success=[op(0)] * 128, failure=[op(0)] * 128))
    for request in (pb.TxnRequest(compare=[check] * 129), pb.TxnRequest(failure=[op(0)] * 129)):
        assert failure(server.kv.Txn, request) == TOO_MANY
    # What a level uses is taken from what its nested txns may use.
    server.txn(nested(server, *[op(i) for i in range(127)]))
    assert failure(server.txn, nested(server, *[op(i) for i in range(128)])) == TOO_MANY
    with Server(server.kind, ["--max-txn-ops=3"]) as small:
        small.txn(*[small.op_put(key + b"%d" % i) for i in range(3)])
        assert failure(small.txn, *[small.op_put(key + b"%d" % i) for i in range(4)]) == TOO_MANY


def test_duplicate_keys(server, key):
    put, delete = server.op_put(key), server.op_delete(key)
    wide = server.op_delete(key, prefix_end(key))
    for operations in ((put, put), (put, delete), (delete, put), (wide, put),
                       (put, nested(server, put)), (nested(server, put), nested(server, put)),
                       (nested(server, put), wide)):
        assert failure(server.txn, *operations) == DUPLICATE, operations
        assert failure(server.kv.Txn, server.pb.TxnRequest(failure=operations)) == DUPLICATE
    # One put in each branch of a nested txn, and deletes of the same, are fine.
    either = server.pb.RequestOp(request_txn=server.pb.TxnRequest(success=[put], failure=[put]))
    server.txn(either)
    server.txn(delete, wide, server.op_get(key))
    server.kv.Txn(server.pb.TxnRequest(success=[put], failure=[put]))


def test_an_empty_operation(server, key):
    assert failure(server.txn, server.pb.RequestOp()) == KEY_NOT_FOUND
    assert failure(server.txn, server.op_put(key), server.pb.RequestOp()) == KEY_NOT_FOUND
    assert failure(server.txn, server.op_get(b"")) == NO_KEY
    assert failure(server.txn, server.op_put(b"")) == NO_KEY
    assert server.get(key).count == 0


def test_txns_at_other_revisions_fail_as_a_whole(server, key):
    old = server.put(key, b"1").header.revision
    now = server.put(key, b"2").header.revision
    server.compact(now)
    for operation, error in ((server.op_get(key, revision=old), COMPACTED),
                             (server.op_get(key, revision=now + 50), FUTURE)):
        for operations in ((server.op_put(key + b"new"), operation),
                           (operation, server.op_put(key + b"new"))):
            assert failure(server.txn, *operations) == error
    assert server.revision() == now and server.get(key + b"new").count == 0
    # A range in the past that is not compacted is answered among writes too.
    reply = server.txn(server.op_put(key, b"3"), server.op_get(key, revision=now))
    assert reply.responses[1].response_range.kvs[0].value == b"2"


# Compact.


@pytest.mark.parametrize("physical", [False, True])
def test_compaction(server, key, physical):
    revisions = [server.put(key, b"%d" % i).header.revision for i in range(3)]
    gone = server.put(key + b"gone").header.revision
    deleted = server.delete(key + b"gone").header.revision
    last = server.put(key + b"last").header.revision
    assert failure(server.compact, last + 1) == FUTURE
    server.compact(deleted, physical=physical)
    for revision in (deleted, gone, revisions[0], 1):
        assert failure(server.compact, revision) == COMPACTED
    # The newest version at or below it is kept, but no tombstone.
    reply = server.get(key, prefix_end(key), revision=deleted)
    assert [(kv.key, kv.value) for kv in reply.kvs] == [(key, b"2")]
    assert server.get(key, prefix_end(key)).count == 2
    server.compact(last, physical=physical)
    assert failure(server.compact, 0) == COMPACTED
