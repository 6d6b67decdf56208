"""The section Lease of contract/semantics.md, line by line; SEMANTICS.md says which test is which."""

import os
import queue
import random
import threading
import time

import grpc
import pytest

from semantics import CALL_SECONDS, Code, Server, WatchStream, failure, prefix_end, wait_until

NOT_FOUND = (Code.NOT_FOUND, "etcdserver: requested lease not found")
TOO_LARGE = (Code.OUT_OF_RANGE, "etcdserver: too large lease TTL")
EXISTS = (Code.FAILED_PRECONDITION, "etcdserver: lease already exists")
TTL_MAX = 9_000_000_000
LONG = 5000


class KeepAlive:
    """One LeaseKeepAlive stream: ask, and get the answer."""

    def __init__(self, server):
        self.pb = server.pb
        self.requests: queue.Queue = queue.Queue()
        self.call = server.lease.LeaseKeepAlive(iter(self.requests.get, None), timeout=120)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.requests.put(None)
        self.call.cancel()

    def send(self, lease):
        self.requests.put(self.pb.LeaseKeepAliveRequest(ID=lease))

    def ask(self, lease):
        self.send(lease)
        return next(self.call)


def leases(server):
    reply = server.lease.LeaseLeases(server.pb.LeaseLeasesRequest())
    assert reply.header.member_id
    return [status.ID for status in reply.leases]


def keys_of(server, lease):
    return sorted(server.time_to_live(lease, keys=True).keys)


# ID 0: the server chooses (positive int64).


def test_grant(server):
    before = server.revision()
    granted = [server.grant(LONG) for _ in range(20)]
    assert all(0 < g.ID < 1 << 63 and g.TTL == LONG and g.error == "" for g in granted)
    assert len({g.ID for g in granted}) == 20
    assert {g.ID for g in granted} <= set(leases(server))
    # A grant makes no revision.
    assert {g.header.revision for g in granted} == {before} == {server.revision()}
    assert granted[0].header.cluster_id and granted[0].header.raft_term


@pytest.mark.parametrize("id", [7, (1 << 63) - 1, -5])
def test_a_chosen_id(server, id):
    granted = server.grant(LONG, id)
    assert (granted.ID, granted.TTL) == (id, LONG)
    assert failure(server.grant, LONG, id) == EXISTS
    assert failure(server.grant, 10, id) == EXISTS
    assert server.time_to_live(id).grantedTTL == LONG
    server.revoke(id)
    # Free again.
    assert server.grant(10, id).TTL == 10
    server.revoke(id)


# TTL < minimum is raised to it; > 9,000,000,000: `too large lease TTL`.


@pytest.mark.parametrize("ttl", [-9, 0, 1, 2, 3])
def test_the_least_ttl(server, ttl):
    granted = server.grant(ttl)
    assert granted.TTL == max(2, ttl)
    assert server.time_to_live(granted.ID).grantedTTL == max(2, ttl)
    server.revoke(granted.ID)


def test_the_least_ttl_of_slow_elections(server):
    with Server(server.kind, ["--heartbeat-interval=300", "--election-timeout=3000"]) as slow:
        assert slow.grant(1).TTL == 5
        assert slow.grant(6).TTL == 6


def test_the_largest_ttl(server):
    granted = server.grant(TTL_MAX)
    assert granted.TTL == TTL_MAX
    assert TTL_MAX - 60 <= server.time_to_live(granted.ID).TTL <= TTL_MAX
    server.revoke(granted.ID)
    assert failure(server.grant, TTL_MAX + 1) == TOO_LARGE
    assert failure(server.grant, (1 << 63) - 1, 99) == TOO_LARGE
    assert 99 not in leases(server)


# LeaseRevoke, LeaseTimeToLive, LeaseLeases.


def test_revoke_deletes_the_keys_in_one_revision(server, key):
    lease = server.grant(LONG).ID
    for name in (b"c", b"a", b"d", b"b"):
        server.put(key + name, b"x", lease=lease)
    server.put(key + b"other", b"x")
    before = server.revision()
    with WatchStream(server) as watch:
        watch.create(key, prefix_end(key), prev_kv=True)
        revoked = server.revoke(lease)
        assert revoked.header.revision == before + 1
        reply = watch.next()
        assert [(e.type, e.kv.key, e.kv.mod_revision, e.prev_kv.lease) for e in reply.events] == [
            (1, key + name, before + 1, lease) for name in (b"a", b"b", b"c", b"d")]
    assert [kv.key for kv in server.get(key, prefix_end(key)).kvs] == [key + b"other"]
    assert lease not in leases(server)


def test_revoke_without_keys_makes_no_revision(server):
    lease = server.grant(LONG).ID
    before = server.revision()
    assert server.revoke(lease).header.revision == before == server.revision()


def test_revoke_of_an_unknown_lease(server):
    for lease in (0, 404, -404):
        assert failure(server.revoke, lease) == NOT_FOUND
    lease = server.grant(LONG).ID
    server.revoke(lease)
    assert failure(server.revoke, lease) == NOT_FOUND


def test_time_to_live(server, key):
    lease = server.grant(LONG).ID
    reply = server.time_to_live(lease)
    assert (reply.ID, reply.grantedTTL, list(reply.keys)) == (lease, LONG, [])
    assert LONG - 60 <= reply.TTL <= LONG
    for name in (b"b", b"a"):
        server.put(key + name, b"x", lease=lease)
    assert keys_of(server, lease) == [key + b"a", key + b"b"]
    assert list(server.time_to_live(lease).keys) == []
    assert reply.header.revision and reply.header.raft_term


def test_time_to_live_of_an_unknown_lease(server):
    for lease in (404, -1):
        reply = server.time_to_live(lease, keys=True)
        assert (reply.ID, reply.TTL, reply.grantedTTL, list(reply.keys)) == (lease, -1, 0, [])


def test_time_to_live_falls(server):
    lease = server.grant(LONG).ID
    wait_until(lambda: server.time_to_live(lease).TTL < LONG, "the remaining time falls")


def test_list(server):
    granted = {server.grant(LONG).ID for _ in range(5)}
    listed = leases(server)
    assert granted <= set(listed) and len(listed) == len(set(listed))
    gone = granted.pop()
    server.revoke(gone)
    assert gone not in leases(server) and granted <= set(leases(server))


# A put detaches the key from its old lease and attaches it to the new one (section Put).


def test_a_put_moves_a_key_between_leases(server, key):
    one, two = server.grant(LONG).ID, server.grant(LONG).ID
    server.put(key, b"1", lease=one)
    assert server.get(key).kvs[0].lease == one and keys_of(server, one) == [key]
    server.put(key, b"2", lease=two)
    assert (keys_of(server, one), keys_of(server, two)) == ([], [key])
    server.revoke(one)
    assert server.get(key).kvs[0].lease == two
    server.put(key, b"3")
    assert server.get(key).kvs[0].lease == 0 and keys_of(server, two) == []
    server.revoke(two)
    assert server.get(key).kvs[0].value == b"3"


def test_ignore_lease_keeps_the_lease(server, key):
    lease = server.grant(LONG).ID
    server.put(key, b"1", lease=lease)
    server.put(key, b"2", ignore_lease=True)
    pair = server.get(key).kvs[0]
    assert (pair.value, pair.lease) == (b"2", lease) and keys_of(server, lease) == [key]
    # ignore_value with another lease keeps the value and moves the key.
    other = server.grant(LONG).ID
    server.put(key, ignore_value=True, lease=other)
    pair = server.get(key).kvs[0]
    assert (pair.value, pair.lease) == (b"2", other) and keys_of(server, lease) == []


def test_a_put_with_an_unknown_lease(server, key):
    before = server.revision()
    assert failure(server.put, key, b"x", lease=404) == NOT_FOUND
    assert failure(server.txn, server.op_put(key + b"a"),
                   server.op_put(key, b"x", lease=404)) == NOT_FOUND
    lease = server.grant(LONG).ID
    server.put(key + b"was", b"x", lease=lease)
    server.revoke(lease)
    assert failure(server.put, key, b"x", lease=lease) == NOT_FOUND
    assert server.revision() == before + 2
    assert server.get(key, prefix_end(key)).count == 0


def test_an_unknown_lease_in_the_branch_that_is_not_taken(server, key):
    reply = server.kv.Txn(server.pb.TxnRequest(
        success=[server.op_put(key)], failure=[server.op_put(key, lease=404)]))
    assert reply.succeeded and server.get(key).count == 1


def test_a_delete_detaches_a_key(server, key):
    lease = server.grant(LONG).ID
    for name in (b"a", b"b", b"c"):
        server.put(key + name, b"x", lease=lease)
    server.delete(key + b"a")
    server.txn(server.op_delete(key + b"b"))
    assert keys_of(server, lease) == [key + b"c"]
    # Written again without a lease, it outlives the lease.
    server.put(key + b"a", b"again")
    server.revoke(lease)
    assert [kv.key for kv in server.get(key, prefix_end(key)).kvs] == [key + b"a"]


def test_leases_in_txns(server, key):
    one, two = server.grant(LONG).ID, server.grant(LONG).ID
    server.txn(server.op_put(key + b"a", lease=one), server.op_put(key + b"b", lease=two))
    assert (keys_of(server, one), keys_of(server, two)) == ([key + b"a"], [key + b"b"])
    swapped = server.kv.Txn(server.pb.TxnRequest(
        compare=[server.pb.Compare(key=key + b"a", target=4, result=0, lease=one)],
        success=[server.op_put(key + b"a", lease=two), server.op_put(key + b"b", lease=one)]))
    assert swapped.succeeded
    assert (keys_of(server, one), keys_of(server, two)) == ([key + b"b"], [key + b"a"])


# KeepAlive of an unknown or expired lease answers TTL 0, not an error.


def test_keep_alive(server):
    lease = server.grant(LONG).ID
    wait_until(lambda: server.time_to_live(lease).TTL < LONG, "the remaining time falls")
    with KeepAlive(server) as alive:
        reply = alive.ask(lease)
        assert (reply.ID, reply.TTL) == (lease, LONG) and reply.header.member_id
        assert server.time_to_live(lease).TTL >= LONG - 2


def test_keep_alive_of_an_unknown_lease(server):
    gone = server.grant(LONG).ID
    server.revoke(gone)
    known = server.grant(LONG).ID
    with KeepAlive(server) as alive:
        assert [(r.ID, r.TTL) for r in map(alive.ask, (404, gone, 0, known))] == [
            (404, 0), (gone, 0), (0, 0), (known, LONG)]


def test_keep_alive_answers_in_order(server):
    """Thousands at once: they share frames, and a client that answers each is no flood."""
    ids = [server.grant(LONG).ID for _ in range(10)]
    chance = random.Random(1)
    asked = [chance.choice(ids) for _ in range(12_000)]
    with KeepAlive(server) as alive:
        for lease in asked:
            alive.send(lease)
        assert [next(alive.call).ID for _ in asked] == asked


def test_keep_alive_stream_ends_with_its_client(server):
    lease = server.grant(LONG).ID
    alive = KeepAlive(server)
    assert alive.ask(lease).TTL == LONG
    alive.requests.put(None)
    with pytest.raises(StopIteration):
        next(alive.call)
    assert alive.call.code() == Code.OK


def test_many_keep_alive_streams(server):
    ids = [server.grant(LONG).ID for _ in range(200)]
    streams = [KeepAlive(server) for _ in ids]
    try:
        for _ in range(2):
            for lease, stream in zip(ids, streams):
                stream.send(lease)
            assert [(r.ID, r.TTL) for r in (next(s.call) for s in streams)] == [
                (lease, LONG) for lease in ids]
    finally:
        for stream in streams:
            stream.__exit__()


# Expiry deletes the attached keys in one revision (keys in order) through the log.


def test_expiry_and_keep_alive(server, key):
    """One lease is kept alive, the other is not: it goes, not before its time, its keys at once."""
    kept, left = server.grant(10).ID, server.grant(5).ID
    begin = time.monotonic()
    for name in (b"c", b"a", b"b"):
        server.put(key + name, b"x", lease=left)
    server.put(key + b"kept", b"x", lease=kept)
    stop = threading.Event()

    def keep():
        with KeepAlive(server) as alive:
            while not stop.is_set():
                assert alive.ask(kept).TTL == 10
                stop.wait(0.5)

    keeper = threading.Thread(target=keep)
    keeper.start()
    try:
        with WatchStream(server) as watch:
            watch.create(key, prefix_end(key))
            revision = server.revision() + 1
            reply = watch.next()
            assert time.monotonic() - begin > 4.9
            assert [(e.type, e.kv.key, e.kv.mod_revision) for e in reply.events] == [
                (1, key + name, revision) for name in (b"a", b"b", b"c")]
            assert server.time_to_live(left).TTL == -1 and left not in leases(server)
            assert failure(server.revoke, left) == NOT_FOUND
            assert failure(server.put, key, lease=left) == NOT_FOUND
            with KeepAlive(server) as alive:
                assert alive.ask(left).TTL == 0
            assert server.get(key + b"kept").count == 1
            # Longer than its TTL by now, if the other's time is counted twice.
            wait_until(lambda: time.monotonic() - begin > 11, "a second lease's time")
            assert server.get(key + b"kept").count == 1
            stop.set()
            keeper.join()
            assert [e.kv.key for e in watch.next().events] == [key + b"kept"]
    finally:
        stop.set()
        keeper.join()


def test_many_leases_expire_together_while_puts_go_on(server, key):
    """Writes go on, and every key goes once, with its lease."""
    count = int(os.environ.get("MARTLET_LEASES", "1500"))
    pb, revisions, worst = server.pb, [], 0.0
    for start in range(0, count, 100):
        granted = [server.lease.stub.LeaseGrant.future(
            pb.LeaseGrantRequest(TTL=4), timeout=CALL_SECONDS) for _ in range(100)]
        server.txn(*[server.op_put(key + b"%06d" % (start + i), lease=g.result().ID)
                     for i, g in enumerate(granted)])
    begin = time.monotonic()
    with WatchStream(server) as watch:
        watch.create(key, prefix_end(key), filters=[0], start_revision=1)
        server.put(b"beside/" + key)

        def put():
            nonlocal worst
            while server.get(key, prefix_end(key), count_only=True).count:
                asked = time.monotonic()
                server.put(b"beside/" + key)
                worst = max(worst, time.monotonic() - asked)
                assert time.monotonic() - begin < 300

        put()
        late = time.monotonic() - begin - 4
        events = watch.events_until(count)
        revisions = [e.kv.mod_revision for e in events]
    assert sorted(e.kv.key for e in events) == [key + b"%06d" % i for i in range(count)]
    assert revisions == sorted(revisions)
    print(f"{server.kind}: {count} leases, worst put {worst:.3f} s, last {late:.1f} s late")


# Leases survive restarts and keep their keys.


@pytest.mark.parametrize("kill", [False, True], ids=["stop", "kill"])
def test_leases_survive_restarts(stubs, server, key, kill):
    with Server(server.kind) as member:
        long, other = member.grant(LONG, 7).ID, member.grant(LONG).ID
        short = member.grant(3).ID
        gone = member.grant(LONG).ID
        for lease, name in ((long, b"a"), (long, b"b"), (other, b"c"), (short, b"short")):
            member.put(key + name, b"x", lease=lease)
        member.put(key + b"b", b"moved", lease=other)
        member.revoke(gone)
        member.restart(kill=kill)
        assert set(leases(member)) - {short} == {long, other}
        assert keys_of(member, long) == [key + b"a"]
        assert keys_of(member, other) == [key + b"b", key + b"c"]
        reply = member.time_to_live(long)
        assert reply.grantedTTL == LONG and 0 < reply.TTL <= LONG
        assert failure(member.grant, 10, 7) == EXISTS
        assert member.get(key + b"b").kvs[0].lease == other
        member.revoke(other)
        assert member.get(key + b"a", key + b"d").count == 1
        with KeepAlive(member) as alive:
            assert alive.ask(long).TTL == LONG
        # What was to expire expires after the restart too.
        wait_until(lambda: member.get(key + b"short").count == 0, "the short lease expires")
        assert leases(member) == [long]


def test_restarts_do_not_renew_a_lease_for_ever(stubs, server, key):
    """A lease whose TTL is shorter than the time between restarts goes, however many there are;
    what remains is kept "sensibly": never more than was granted."""
    with Server(server.kind) as member:
        lease = member.grant(LONG).ID
        for _ in range(2):
            member.restart(kill=True)
            assert 0 < member.time_to_live(lease).TTL <= LONG


# The same random requests to both servers.


def outcome(call, request):
    try:
        return call(request)
    except grpc.RpcError as error:
        return error.code(), error.details()


def test_random_leases(server, key):
    """Random grants, revokes and writes: keys and leases are what a plain model says."""
    chance = random.Random(5)
    names = [key + b"%d" % i for i in range(12)]
    attached, alive, values = {}, set(), {}
    ids = [1000 + i for i in range(6)]
    for step in range(400):
        kind, lease, name = chance.random(), chance.choice(ids), chance.choice(names)
        where = f"step {step}"
        if kind < 0.2:
            got = outcome(server.lease.LeaseGrant, server.pb.LeaseGrantRequest(TTL=LONG, ID=lease))
            assert (got == EXISTS) if lease in alive else (got.ID == lease), where
            alive.add(lease)
        elif kind < 0.3:
            got = outcome(server.lease.LeaseRevoke, server.pb.LeaseRevokeRequest(ID=lease))
            assert (got == NOT_FOUND) == (lease not in alive), where
            alive.discard(lease)
            for one in [n for n, owner in attached.items() if owner == lease]:
                del attached[one], values[one]
        elif kind < 0.7:
            lease = chance.choice([0, lease])
            got = outcome(server.kv.Put, server.pb.PutRequest(
                key=name, value=b"%d" % step, lease=lease))
            if lease and lease not in alive:
                assert got == NOT_FOUND, where
            else:
                values[name] = b"%d" % step
                attached.pop(name, None)
                if lease:
                    attached[name] = lease
        elif kind < 0.85:
            end = chance.choice([b"", name + b"\0", names[-1]])
            server.delete(name, end)
            for one in [n for n in values if n == name or name <= n < end]:
                del values[one]
                attached.pop(one, None)
        else:
            keys = sorted(n for n, owner in attached.items() if owner == lease)
            assert keys_of(server, lease) == keys, where
    stored = {kv.key: (kv.value, kv.lease) for kv in server.get(key, prefix_end(key)).kvs}
    assert stored == {n: (value, attached.get(n, 0)) for n, value in values.items()}
    assert alive == set(leases(server)) & set(ids)
