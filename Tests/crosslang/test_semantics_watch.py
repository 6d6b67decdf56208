"""The section Watch of contract/semantics.md, line by line; SEMANTICS.md says which test is which."""

import random
import threading

import grpc
import pytest

from semantics import Code, Server, WatchStream, failure, prefix_end, wait_until

SERVER_FLAGS = ["--max-request-bytes=300000"]
PUT, DELETE = 0, 1
COMPACTED = "etcdserver: mvcc: required revision has been compacted"


def only(events):
    (event,) = events
    return event


def flat(events):
    """Events as (type, key, value, mod_revision)."""
    return [(e.type, e.kv.key, e.kv.value, e.kv.mod_revision) for e in events]


# One stream carries many watches, each with its own range, filters and start.


def test_many_watches_on_a_stream(server, key):
    first = server.put(key + b"a", b"1").header.revision
    with WatchStream(server) as watch:
        one = watch.create(key + b"a").watch_id
        prefix = watch.create(key, prefix_end(key), filters=[DELETE]).watch_id
        past = watch.create(key + b"a", start_revision=first, filters=[PUT ^ DELETE]).watch_id
        assert only(watch.next().events).kv.mod_revision == first
        assert len({one, prefix, past}) == 3
        server.put(key + b"b", b"2")
        reply = watch.next()
        assert (reply.watch_id, only(reply.events).kv.key) == (prefix, key + b"b")
        server.delete(key + b"a")
        reply = watch.next()
        assert (reply.watch_id, only(reply.events).type) == (one, DELETE)
        server.put(key + b"a", b"3")
        replies = [watch.next() for _ in range(3)]
        assert {r.watch_id for r in replies} == {one, prefix, past}
        assert all(only(r.events).kv.value == b"3" for r in replies)


def test_five_hundred_watches_on_a_stream(server, key):
    with WatchStream(server) as watch:
        for i in range(500):
            watch.send_create(key + b"%03d" % i)
        ids = [watch.next().watch_id for _ in range(500)]
        assert len(set(ids)) == 500
        everything = watch.create(key, prefix_end(key)).watch_id
        for start in range(0, 500, 100):
            server.txn(*[server.op_put(key + b"%03d" % i, b"v") for i in range(start, start + 100)])
        seen = {watch_id: [] for watch_id in [*ids, everything]}
        while len(seen[everything]) < 500 or any(not seen[i] for i in ids):
            reply = watch.next()
            seen[reply.watch_id] += reply.events
        for number, watch_id in enumerate(ids):
            assert only(seen[watch_id]).kv.key == key + b"%03d" % number
        assert [e.kv.key for e in seen[everything]] == [key + b"%03d" % i for i in range(500)]


def test_many_streams_on_a_connection(server, key):
    streams = [WatchStream(server) for _ in range(50)]
    try:
        for stream in streams:
            stream.send_create(key)
        for stream in streams:
            assert stream.next().created
        revision = server.put(key, b"x").header.revision
        for stream in streams:
            assert only(stream.next().events).kv.mod_revision == revision
    finally:
        for stream in streams:
            stream.__exit__()


# start_revision 0: from after the revision in the header of the `created` reply.


def test_start_zero_is_after_the_created_reply(server, key):
    before = server.put(key, b"before").header.revision
    with WatchStream(server) as watch:
        created = watch.create(key)
        assert created.header.revision >= before
        assert created.header.cluster_id and created.header.member_id
        after = server.put(key, b"after").header.revision
        assert flat(watch.next().events) == [(PUT, key, b"after", after)]
        assert after > created.header.revision


def test_start_zero_while_others_write(server, key):
    """J2: everything after the created reply's revision, nothing at or before it."""
    stop = threading.Event()

    def write():
        with grpc.insecure_channel(server.endpoint) as channel:
            import rpc_pb2_grpc
            stub = rpc_pb2_grpc.KVStub(channel)
            number = 0
            while not stop.is_set():
                stub.Put(server.pb.PutRequest(key=key, value=b"%d" % number), timeout=60)
                number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(20):
            with WatchStream(server) as watch:
                created = watch.create(key)
                first = watch.next().events[0].kv.mod_revision
                # The store's only writer puts one key, so revisions have no holes.
                assert first == created.header.revision + 1
    finally:
        stop.set()
        writer.join()


# N > 0: from N on, history included; a future N waits and shows nothing older.


def test_start_in_the_past(server, key):
    server.put(key, b"0")
    revisions = [server.put(key, b"%d" % i).header.revision for i in range(1, 5)]
    gone = server.delete(key).header.revision
    with WatchStream(server) as watch:
        watch.create(key, start_revision=revisions[1])
        now = server.put(key, b"now").header.revision
        assert flat(watch.events_until(5)) == [
            (PUT, key, b"2", revisions[1]), (PUT, key, b"3", revisions[2]),
            (PUT, key, b"4", revisions[3]), (DELETE, key, b"", gone), (PUT, key, b"now", now)]


def test_start_at_revision_one_sees_all(server, key):
    server.put(key, b"x")
    with WatchStream(server) as watch:
        created = watch.create(b"\0", b"\0", start_revision=1)
        assert not created.canceled
        assert watch.next().events[0].kv.mod_revision == 2


def test_start_in_the_future(server, key):
    now = server.put(key, b"0").header.revision
    with WatchStream(server) as watch:
        created = watch.create(key, start_revision=now + 3)
        assert created.header.revision == now
        for value in (b"1", b"2"):
            server.put(key, value)
        third = server.put(key, b"3").header.revision
        assert third == now + 3
        assert flat(watch.next().events) == [(PUT, key, b"3", third)]
        server.put(key, b"4")
        assert only(watch.next().events).kv.value == b"4"


# N < 0 or compacted: `created`, then `canceled` with compact_revision set.


def test_start_compacted(server, key):
    old = server.put(key, b"0").header.revision
    last = server.put(key, b"1").header.revision
    server.compact(last)
    with WatchStream(server) as watch:
        watch.send_create(key, start_revision=old)
        created, canceled = watch.next(), watch.next()
        assert created.created and not created.canceled
        assert canceled.canceled and not canceled.created and not canceled.events
        assert canceled.watch_id == created.watch_id
        assert canceled.compact_revision == last
        assert canceled.cancel_reason in ("", COMPACTED)
        # Its stream goes on, and the revision that was compacted to is served.
        other = watch.create(key, start_revision=last)
        assert not other.canceled
        assert only(watch.next().events).kv.mod_revision == last


def test_delete_at_the_compacted_revision_is_seen(server, key):
    """R6."""
    if server.predates("3.5"):
        pytest.skip("etcd 3.4 has this very bug (#18089, mended in 3.5.15)")
    server.put(key, b"0")
    gone = server.delete(key).header.revision
    server.compact(gone, physical=True)
    with WatchStream(server) as watch:
        watch.create(key, start_revision=gone)
        assert flat(watch.next().events) == [(DELETE, key, b"", gone)]


@pytest.mark.parametrize("start", [-1, -(1 << 63)])
def test_start_negative(server, key, start):
    if server.kind == "etcd":
        pytest.skip("etcd 3.4.23 takes it (refused from 3.4.36 and 3.5.19 on, #19443)")
    server.put(key)
    with WatchStream(server) as watch:
        reply = watch.create(key, start_revision=start)
        assert (reply.canceled, reply.watch_id) == (True, -1)
        assert reply.cancel_reason == COMPACTED
        assert watch.create(key).watch_id == 0


# watch_id 0 asks the server to choose (0, 1, 2, ... skipping those in use).


def test_ids_that_the_server_chooses(server, key):
    with WatchStream(server) as watch:
        assert [watch.create(key).watch_id for _ in range(3)] == [0, 1, 2]
        assert watch.create(key, watch_id=4).watch_id == 4
        assert watch.create(key, watch_id=-7).watch_id == -7
        assert [watch.create(key).watch_id for _ in range(3)] == [3, 5, 6]
        watch.cancel(1)
        assert watch.next().canceled
        assert watch.create(key).watch_id == 7
        assert watch.create(key, watch_id=1).watch_id == 1
    with WatchStream(server) as watch:
        assert watch.create(key).watch_id == 0


def test_a_chosen_id_in_use(server, key):
    with WatchStream(server) as watch:
        assert watch.create(key, watch_id=3).watch_id == 3
        reply = watch.create(key + b"other", watch_id=3)
        assert (reply.canceled, reply.watch_id) == (True, -1)
        assert reply.cancel_reason and reply.compact_revision == 0
        # The first one is as it was.
        server.put(key + b"other", b"x")
        server.put(key, b"x")
        reply = watch.next()
        assert (reply.watch_id, only(reply.events).kv.key) == (3, key)


# Ranges as those of Range.


def test_ranges(server, key):
    a, b, c = key + b"a", key + b"b", key + b"c"
    with WatchStream(server) as watch:
        ids = {
            "key": watch.create(b).watch_id, "range": watch.create(a, c).watch_id,
            "from": watch.create(b, b"\0").watch_id, "all": watch.create(b"\0", b"\0").watch_id,
            "none": watch.create(c, c + b"\0").watch_id, "empty key": watch.create(b"").watch_id}
        server.put(b, b"x")
        server.put(c, b"x")
        server.put(b"\0", b"x")
        replies = [watch.next() for _ in range(9)]
        seen = sorted((name, only(r.events).kv.key) for r in replies
                      for name, watch_id in ids.items() if watch_id == r.watch_id)
        assert seen == sorted([
            ("key", b), ("range", b), ("from", b), ("all", b), ("from", c), ("all", c),
            ("none", c), ("all", b"\0"), ("empty key", b"\0")])


@pytest.mark.parametrize("end", ["before", "same"])
def test_an_empty_range_is_refused(server, key, end):
    with WatchStream(server) as watch:
        reply = watch.create(key + b"b", key + (b"a" if end == "before" else b"b"))
        assert (reply.canceled, reply.watch_id) == (True, -1)
        assert not watch.create(key).canceled


# All events of a revision come in one response, in order of sub-revision.


def test_a_txn_is_one_response_in_order(server, key):
    server.put(key + b"gone", b"x")
    with WatchStream(server) as watch:
        watch.create(key, prefix_end(key))
        done = server.txn(
            server.op_put(key + b"z", b"1"), server.op_delete(key + b"gone"),
            server.op_put(key + b"a", b"2"), server.op_delete(key + b"nothing"),
            server.op_get(key + b"a"),
            server.pb.RequestOp(request_txn=server.pb.TxnRequest(
                success=[server.op_put(key + b"m", b"3")])))
        revision = done.header.revision
        reply = watch.next()
        assert reply.header.revision >= revision
        assert flat(reply.events) == [
            (PUT, key + b"z", b"1", revision), (DELETE, key + b"gone", b"", revision),
            (PUT, key + b"a", b"2", revision), (PUT, key + b"m", b"3", revision)]


def test_a_range_delete_is_one_response_in_order(server, key):
    for name in (b"c", b"a", b"b"):
        server.put(key + name)
    with WatchStream(server) as watch:
        watch.create(key, prefix_end(key))
        revision = server.delete(key, prefix_end(key)).header.revision
        assert flat(watch.next().events) == [
            (DELETE, key + name, b"", revision) for name in (b"a", b"b", b"c")]


def test_history_keeps_a_revision_together(server, key):
    """A watch that catches up gets whole revisions too, however they are packed."""
    first = None
    for round_ in range(30):
        done = server.txn(*[server.op_put(key + b"%02d" % i, b"%d" % round_) for i in range(40)])
        first = first or done.header.revision
    with WatchStream(server) as watch:
        watch.create(key, prefix_end(key), start_revision=first)
        events, tail = [], None
        while len(events) < 30 * 40:
            reply = watch.next()
            assert reply.events[0].kv.mod_revision != tail, "a revision in two responses"
            tail = reply.events[-1].kv.mod_revision
            events += reply.events
    assert flat(events) == [(PUT, key + b"%02d" % i, b"%d" % round_, first + round_)
                            for round_ in range(30) for i in range(40)]


# with fragment set a response over max-request-bytes is split (fragment true on all but the
# last), never without it.


FRAGMENT_BYTES_MAX = 300_000 + 512 * 1024


def big_delete(server, key, count=12, size=200_000):
    for i in range(count):
        server.put(key + b"%02d" % i, b"v" * size)
    return lambda: server.delete(key, prefix_end(key)).header.revision


@pytest.mark.parametrize("history", [False, True], ids=["live", "history"])
def test_fragments(server, key, history):
    delete = big_delete(server, key)
    with WatchStream(server) as watch:
        if history:
            revision = delete()
            watch.create(key, prefix_end(key), prev_kv=True, fragment=True, start_revision=revision)
        else:
            watch.create(key, prefix_end(key), prev_kv=True, fragment=True)
            revision = delete()
        replies = [watch.next()]
        while replies[-1].fragment:
            replies.append(watch.next())
        assert len(replies) > 1
        # etcd adds the transport's 512 KiB to max-request-bytes, and ends a fragment behind it.
        assert all(r.ByteSize() < FRAGMENT_BYTES_MAX + 201_000 and r.events for r in replies)
        assert all(r.header == replies[0].header and r.watch_id == 0 for r in replies)
        events = [e for r in replies for e in r.events]
        assert [(e.kv.key, e.kv.mod_revision, len(e.prev_kv.value)) for e in events] == [
            (key + b"%02d" % i, revision, 200_000) for i in range(12)]


@pytest.mark.parametrize("history", [False, True], ids=["live", "history"])
def test_no_fragments_unless_asked(server, key, history):
    delete = big_delete(server, key)
    with WatchStream(server) as watch:
        if history:
            watch.create(key, prefix_end(key), prev_kv=True, start_revision=delete())
        else:
            watch.create(key, prefix_end(key), prev_kv=True)
            delete()
        reply = watch.next()
        assert not reply.fragment and len(reply.events) == 12 and reply.ByteSize() > 2_400_000


def test_fragment_asked_and_not_needed(server, key):
    with WatchStream(server) as watch:
        watch.create(key, fragment=True)
        server.put(key, b"small")
        assert not watch.next().fragment


# Filters.


@pytest.mark.parametrize("filters, kept", [([0], {DELETE}), ([1], {PUT}), ([0, 1], set()),
                                           ([], {PUT, DELETE}), ([0, 0], {DELETE})])
@pytest.mark.parametrize("history", [False, True], ids=["live", "history"])
def test_filters(server, key, filters, kept, history):
    def write():
        first = server.put(key + b"a", b"1").header.revision
        server.delete(key + b"a")
        server.txn(server.op_put(key + b"b", b"2"), server.op_put(key + b"c", b"3"))
        server.txn(server.op_delete(key + b"b"), server.op_put(key + b"c", b"4"))
        return first

    wanted = [(PUT, b"a"), (DELETE, b"a"), (PUT, b"b"), (PUT, b"c"), (DELETE, b"b"), (PUT, b"c")]
    wanted = [(kind, key + name) for kind, name in wanted if kind in kept]
    with WatchStream(server) as watch:
        if history:
            watch.create(key, prefix_end(key), filters=filters, start_revision=write())
        else:
            watch.create(key, prefix_end(key), filters=filters)
            write()
        got = [(e.type, e.kv.key) for e in watch.events_until(len(wanted))]
        assert got == wanted
        # What was filtered away does not come later either: the next reply is another's.
        assert watch.create(key + b"z").watch_id == 1


# Within a watch: every event from the start on, in order, once. Across a reconnect at the last
# revision + 1: the same.


def test_reconnects_lose_and_repeat_nothing(server, key):
    total, seen = 1500, []
    start = server.revision() + 1

    def write():
        with grpc.insecure_channel(server.endpoint) as channel:
            import rpc_pb2_grpc
            stub = rpc_pb2_grpc.KVStub(channel)
            pending = []
            for i in range(total):
                pending.append(stub.Put.future(
                    server.pb.PutRequest(key=key + b"%d" % (i % 7), value=b"x"), timeout=60))
                if len(pending) == 50:
                    for one in pending:
                        one.result()
                    pending = []
            for one in pending:
                one.result()

    writer = threading.Thread(target=write)
    writer.start()
    chance = random.Random(7)
    connections = 0
    while len(seen) < total:
        connections += 1
        with WatchStream(server) as watch:
            watch.create(key, prefix_end(key), start_revision=(seen[-1] + 1 if seen else start))
            wanted = min(total, len(seen) + chance.randint(1, 40))
            while len(seen) < wanted:
                seen += [e.kv.mod_revision for e in watch.next().events]
    writer.join()
    assert connections > 2
    assert seen == list(range(start, start + total))


# Nothing is dropped for a slow reader: it falls behind, memory stays bounded, and if compaction
# overtakes it, it is canceled with compact_revision.


def flood(server, key, txns, value=b"v" * 2500, per_txn=100):
    """Writes txns of 100 puts; returns the revision of each."""
    return [server.txn(*[server.op_put(key + b"%03d" % i, value) for i in range(per_txn)])
            .header.revision for _ in range(txns)]


def test_a_slow_reader_gets_everything_once(server, key):
    with WatchStream(server) as slow, WatchStream(server) as fast:
        slow.create(key, prefix_end(key))
        fast.create(key, prefix_end(key))
        revisions = []
        for _ in range(10):
            revisions += flood(server, key, 16)
            # The fast one is not held up by the slow one.
            fast.events_until(16 * 100)
        events = slow.events_until(160 * 100)
        assert [(e.kv.key, e.kv.mod_revision) for e in events] == [
            (key + b"%03d" % i, revision) for revision in revisions for i in range(100)]
        after = server.put(key, b"after").header.revision
        assert only(slow.next().events).kv.mod_revision == after


def test_memory_of_a_slow_reader_is_bounded(server, key):
    """Sixteen readers that do not read, 40 MB of events each: not 640 MB of memory."""
    streams = [WatchStream(server) for _ in range(16)]
    try:
        for stream in streams:
            stream.create(key, prefix_end(key))
        before = server.resident_bytes()
        flood(server, key, 160)
        grown = server.resident_bytes() - before
        assert grown < 400 << 20, f"{grown >> 20} MiB"
        for stream in streams:
            stream.events_until(160 * 100)
    finally:
        for stream in streams:
            stream.__exit__()


def test_compaction_overtakes_a_slow_reader(server, key):
    with WatchStream(server) as slow:
        created = slow.create(key, prefix_end(key))
        revisions = flood(server, key, 200)
        server.compact(revisions[-1], physical=True)
        seen, reply = [], slow.next()
        while not reply.canceled:
            seen += [e.kv.mod_revision for e in reply.events]
            if server.kind == "etcd" and len(seen) == 200 * 100:
                # What etcd has taken out of the store for a slow watch, up to 1000 revisions, it
                # sends; on a busy machine that is everything, and then nothing was overtaken.
                return
            reply = slow.next()
        assert reply.watch_id == created.watch_id and reply.compact_revision == revisions[-1]
        # What it got before is a beginning of the whole, in order and without holes.
        assert 0 < len(seen) < 200 * 100
        assert seen == [r for r in revisions for _ in range(100)][:len(seen)]
        # The stream lives, and a new watch from there on works.
        slow.create(key, prefix_end(key), start_revision=reply.compact_revision)
        assert len(slow.events_until(100)) == 100


# prev_kv on delete and put. A DELETE event's kv has key and mod_revision only.


@pytest.mark.parametrize("history", [False, True], ids=["live", "history"])
def test_prev_kv(server, key, history):
    def write():
        put = server.put(key, b"1")
        revisions = [put.header.revision, server.put(key, b"2").header.revision,
                     server.delete(key).header.revision, server.put(key, b"3").header.revision]
        return revisions

    with WatchStream(server) as watch:
        if history:
            revisions = write()
            watch.create(key, prev_kv=True, start_revision=revisions[0])
        else:
            watch.create(key, prev_kv=True)
            revisions = write()
        born, changed, gone, again = watch.events_until(4)
        assert not born.HasField("prev_kv") and born.kv.version == 1
        assert changed.prev_kv == born.kv and changed.kv.version == 2
        assert changed.kv.create_revision == revisions[0]
        assert gone.prev_kv == changed.kv
        assert (gone.type, gone.kv.key, gone.kv.mod_revision) == (DELETE, key, revisions[2])
        assert (gone.kv.create_revision, gone.kv.version, gone.kv.value, gone.kv.lease) == (
            0, 0, b"", 0)
        assert not again.HasField("prev_kv")
        assert (again.kv.create_revision, again.kv.version) == (revisions[3], 1)


def test_no_prev_kv_unless_asked(server, key):
    with WatchStream(server) as watch:
        watch.create(key)
        server.put(key, b"1")
        server.put(key, b"2")
        server.delete(key)
        assert not any(e.HasField("prev_kv") for e in watch.events_until(3))


def test_prev_kv_that_was_compacted_is_missing(server, key):
    server.put(key, b"1")
    second = server.put(key, b"2").header.revision
    server.compact(second, physical=True)
    with WatchStream(server) as watch:
        watch.create(key, prev_kv=True, start_revision=second)
        event = only(watch.next().events)
        assert event.kv.value == b"2" and not event.HasField("prev_kv")


def test_lease_in_events(server, key):
    lease = server.grant(1000).ID
    with WatchStream(server) as watch:
        watch.create(key)
        server.put(key, b"1", lease=lease)
        assert only(watch.next().events).kv.lease == lease


# progress_request: answered with watch_id -1 and a header.revision R only after every event <= R
# has been sent on the stream.


def test_progress_request(server, key):
    with WatchStream(server) as watch:
        watch.create(key)
        revision = server.put(key + b"elsewhere", b"x").header.revision
        watch.progress()
        reply = watch.next()
        assert reply.watch_id == -1 and not reply.events
        assert not (reply.created or reply.canceled or reply.fragment)
        assert reply.header.revision >= revision


def test_progress_comes_after_events(server, key):
    """R1, among writes: no event at or below a revision that was told before it."""
    if server.predates("3.5"):
        pytest.skip("etcd 3.4 tells a revision ahead of its events (#15220, mended in 3.5.8)")
    stop = threading.Event()

    def write():
        with grpc.insecure_channel(server.endpoint) as channel:
            import rpc_pb2_grpc
            stub = rpc_pb2_grpc.KVStub(channel)
            while not stop.is_set():
                stub.Put(server.pb.PutRequest(key=key, value=b"x"), timeout=60)

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    try:
        with WatchStream(server) as watch:
            created = watch.create(key)
            told, last, progress = created.header.revision, created.header.revision, 0
            watch.progress()
            while progress < 100:
                reply = watch.next()
                if reply.watch_id == -1:
                    assert reply.header.revision >= told
                    told, progress = reply.header.revision, progress + 1
                    assert last == told, "events below the progress revision were not sent yet"
                    watch.progress()
                for event in reply.events:
                    assert event.kv.mod_revision == last + 1
                    last = event.kv.mod_revision
                    assert last > told
    finally:
        stop.set()
        for writer in writers:
            writer.join()


def test_progress_while_catching_up(server, key):
    """R1, with history still to be sent: the answer waits for it (or never comes)."""
    if server.predates("3.5"):
        pytest.skip("etcd 3.4 answers at once (#15220, mended in 3.4.25 and 3.5.8)")
    revisions = flood(server, key, 100)
    with WatchStream(server) as watch:
        watch.create(key, prefix_end(key), start_revision=revisions[0])
        seen = 0
        while True:
            watch.progress()
            reply = watch.next()
            seen += len(reply.events)
            if reply.watch_id == -1:
                break
        assert reply.header.revision >= revisions[-1] and seen == 100 * 100


# progress_notify: the same per watch on an idle interval.


@pytest.fixture(scope="module")
def notifying(server, stubs):
    with Server(server.kind, ["--experimental-watch-progress-notify-interval=1s"]) as running:
        yield running


def test_progress_notify(notifying, key):
    with WatchStream(notifying) as watch:
        quiet = watch.create(key, progress_notify=False).watch_id
        asked = watch.create(key, progress_notify=True).watch_id
        told = 0
        for _ in range(2):
            revision = notifying.put(key + b"elsewhere").header.revision
            reply = watch.next()
            while reply.header.revision < revision:
                assert reply.watch_id == asked and not reply.events
                reply = watch.next()
            assert reply.watch_id == asked != quiet
            assert not (reply.events or reply.created or reply.canceled)
            assert reply.header.revision > told
            told = reply.header.revision


def test_progress_notify_of_a_future_watch(notifying, key):
    """R9: a watch that starts in the future is told nothing older than its start."""
    if notifying.kind == "etcd":
        pytest.skip("etcd 3.4 and 3.5.16 have this very bug (#20221)")
    now = notifying.put(key).header.revision
    with WatchStream(notifying) as watch:
        future = watch.create(key, start_revision=now + 3, progress_notify=True).watch_id
        beside = watch.create(key + b"beside", progress_notify=True).watch_id
        for _ in range(2):
            assert watch.next().watch_id == beside
        for _ in range(3):
            last = notifying.put(key).header.revision
        reply = watch.next()
        while reply.watch_id != future:
            reply = watch.next()
        assert reply.header.revision >= last and only(reply.events).kv.mod_revision == last


# Cancel: a `canceled` reply, then nothing more for that id.


def test_cancel(server, key):
    with WatchStream(server) as watch:
        first, second = watch.create(key).watch_id, watch.create(key).watch_id
        watch.cancel(first)
        reply = watch.next()
        assert (reply.watch_id, reply.canceled, reply.created) == (first, True, False)
        assert reply.compact_revision == 0 and not reply.events
        assert reply.header.revision and reply.header.member_id
        server.put(key, b"1")
        server.put(key, b"2")
        assert [watch.next().watch_id for _ in range(2)] == [second, second]


def test_cancel_of_an_unknown_id_is_ignored(server, key):
    with WatchStream(server) as watch:
        watch.cancel(77)
        assert watch.create(key).watch_id == 0
        watch.cancel(0)
        assert watch.next().canceled
        watch.cancel(0)
        assert watch.create(key).watch_id == 1


def test_cancel_among_events(server, key):
    """After the `canceled` reply nothing more comes, also when many events are under way."""
    with WatchStream(server) as watch:
        for _ in range(20):
            watch_id = watch.create(key, prefix_end(key)).watch_id
            flood(server, key, 1, value=b"small")
            watch.cancel(watch_id)
            flood(server, key, 1, value=b"small")
            reply = watch.next()
            while not reply.canceled:
                assert reply.watch_id == watch_id
                reply = watch.next()
            assert reply.watch_id == watch_id


# Cancellation (RST_STREAM) ends watches at once (section gRPC over HTTP/2).


def test_cancelled_calls_and_closed_connections_end_watches(server, key):
    def watchers():
        return (server.metric("etcd_debugging_mvcc_watcher_total"),
                server.metric("etcd_debugging_mvcc_watch_stream_total"))

    wait_until(lambda: watchers() == (0, 0), "the watches of the tests before this end")
    streams = [WatchStream(server) for _ in range(10)]
    for stream in streams:
        for _ in range(5):
            stream.create(key)
    assert watchers() == (50, 10)
    for stream in streams[:5]:
        stream.call.cancel()
    wait_until(lambda: watchers() == (25, 5), "watches of cancelled calls end")
    server.reconnect()
    wait_until(lambda: watchers() == (0, 0), "watches of closed connections end")
    for stream in streams:
        stream.requests.put(None)


def test_half_close(server, key):
    """A client that says that it has no more requests still gets its events."""
    with WatchStream(server) as watch:
        watch.create(key)
        watch.requests.put(None)
        for _ in range(2):
            revision = server.put(key).header.revision
            assert only(watch.next().events).kv.mod_revision == revision


def test_watches_end_when_the_server_stops(stubs, server, key):
    with Server(server.kind) as stopping:
        with WatchStream(stopping) as watch:
            watch.create(key)
            stopping.stop()
            code, _ = failure(watch.next)
            assert code in (Code.UNAVAILABLE, Code.CANCELLED)


def test_watches_across_a_kill(stubs, server, key):
    """What was acknowledged before a kill is history for a watch after it."""
    with Server(server.kind) as killed:
        revisions = [killed.put(key, b"%d" % i).header.revision for i in range(20)]
        killed.restart(kill=True)
        with WatchStream(killed) as watch:
            watch.create(key, start_revision=revisions[0])
            after = killed.put(key, b"after").header.revision
            got = [e.kv.mod_revision for e in watch.events_until(21)]
            assert got == [*revisions, after]


# Random histories: what every watch sees equals what a plain model of the history says.


@pytest.mark.parametrize("seed", range(3))
def test_random_histories(server, key, seed):
    chance = random.Random(seed)
    names = [key + name for name in (b"a", b"b", b"ba", b"c", b"d")]
    model, history, start = {}, [], server.revision()

    def apply(operations, revision):
        for name, value in operations:
            if value is None:
                if name in model:
                    history.append((DELETE, name, b"", revision, model.pop(name)))
            else:
                history.append((PUT, name, value, revision, model.get(name)))
                model[name] = value

    def write():
        chosen = chance.sample(names, chance.randint(1, 3))
        operations = [(name, None if chance.random() < 0.4 else b"%d" % chance.randint(0, 99))
                      for name in chosen]
        done = server.txn(*[server.op_delete(name) if value is None else server.op_put(name, value)
                            for name, value in operations])
        apply(operations, done.header.revision)

    def wanted(watch):
        return [(kind, name, value, revision, before if watch["prev"] else None)
                for kind, name, value, revision, before in history
                if revision >= watch["start"] and kind not in watch["filters"]
                and watch["key"] <= name and name < watch["end"]]

    with WatchStream(server) as stream:
        watches = []
        for _ in range(60):
            write()
            if chance.random() < 0.3:
                low, high = sorted(chance.sample([*names, key + b"\xff"], 2))
                begin = chance.choice([0, start + 1, chance.randint(start + 1, server.revision())])
                watch = {"key": low, "end": high, "prev": chance.random() < 0.5,
                         "filters": chance.choice([[], [], [0], [1]])}
                stream.send_create(low, high, start_revision=begin, prev_kv=watch["prev"],
                                   filters=watch["filters"], fragment=chance.random() < 0.5)
                watches.append(watch)
                watch["asked"] = begin
                watch["got"] = []
                while True:
                    reply = stream.next()
                    if reply.created:
                        break
                    watches[reply.watch_id]["got"] += reply.events
                assert reply.watch_id == len(watches) - 1
                watch["start"] = begin or reply.header.revision + 1
        while any(len(w["got"]) < len(wanted(w)) for w in watches):
            reply = stream.next()
            watches[reply.watch_id]["got"] += reply.events
        for watch in watches:
            got = [(e.type, e.kv.key, e.kv.value, e.kv.mod_revision,
                    e.prev_kv.value if e.HasField("prev_kv") else None) for e in watch["got"]]
            assert got == wanted(watch), f"seed {seed}: {watch}"
        assert len(watches) > 5
