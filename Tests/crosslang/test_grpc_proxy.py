"""martlet grpc-proxy start: the API in front of a cluster, with watches and renewals put together."""

import contextlib
import json
import queue
import subprocess
import threading
import time
import urllib.error
import urllib.request

import grpc
import pytest

from harness import free_port
from semantics import CALL_SECONDS, CHANNEL_OPTIONS, STREAM_SECONDS, Server, Waiting, wait_until
from sidecars import command_of, proxy
from test_etcdctl_services import Running, environment
from test_etcdctl_tls import SecureServer
from test_tls import Files


class Through:
    """The stubs of a server, by way of a proxy."""

    def __init__(self, sidecar, metadata=None):
        import rpc_pb2
        import rpc_pb2_grpc
        self.pb = rpc_pb2
        self.endpoint = sidecar.endpoint
        self.channel = grpc.insecure_channel(sidecar.endpoint, options=CHANNEL_OPTIONS)
        for name in ("KV", "Lease", "Auth", "Maintenance", "Cluster", "Watch"):
            stub = getattr(rpc_pb2_grpc, f"{name}Stub")(self.channel)
            setattr(self, name.lower(), Waiting(stub, metadata))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()

    put, get, delete, txn = Server.put, Server.get, Server.delete, Server.txn
    op_put, op_get, op_delete = Server.op_put, Server.op_get, Server.op_delete
    grant = Server.grant


class Stream:
    """A stream of requests and of answers, read as fast as they come."""

    def __init__(self, method):
        self.requests: queue.Queue = queue.Queue()
        self.answers: queue.Queue = queue.Queue()
        self.call = method(iter(self.requests.get, None), timeout=STREAM_SECONDS)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        try:
            for answer in self.call:
                self.answers.put(answer)
        except grpc.RpcError as error:
            self.answers.put(error)

    def send(self, request):
        self.requests.put(request)

    def next(self):
        answer = self.answers.get(timeout=CALL_SECONDS)
        if isinstance(answer, grpc.RpcError):
            raise answer
        return answer

    def close(self):
        self.requests.put(None)
        self.call.cancel()
        self.thread.join(CALL_SECONDS)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def watch(through, key=b"w", range_end=b"", **options) -> Stream:
    stream = Stream(through.watch.Watch)
    stream.send(through.pb.WatchRequest(create_request=through.pb.WatchCreateRequest(
        key=key, range_end=range_end, **options)))
    created = stream.next()
    assert created.created and not created.canceled, created
    stream.created = created
    return stream


def events(stream, count):
    found = []
    while len(found) < count:
        found += stream.next().events
    assert len(found) == count
    return found


def page(sidecar, path):
    with urllib.request.urlopen(f"http://{sidecar.endpoint}{path}", timeout=30) as answer:
        return answer.read().decode()


def metric(sidecar, name):
    for line in page(sidecar, "/metrics").splitlines():
        if line.startswith(f"etcd_grpc_proxy_{name} "):
            return float(line.split()[1])
    raise AssertionError(f"no metric {name}")


def ctl(endpoint, *words, check=True, stdin=None):
    done = subprocess.run(["/usr/bin/etcdctl", f"--endpoints={endpoint}", *words], input=stdin,
                          capture_output=True, text=True, env=environment(), timeout=CALL_SECONDS)
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def server(stubs):
    with Server("martlet") as running:
        yield running


@pytest.fixture(scope="module")
def plain(server):
    """A proxy without anything special, for tests that use keys of their own."""
    with proxy(server.endpoint) as running:
        yield running


@pytest.fixture
def through(plain):
    with Through(plain) as client:
        yield client


# The command line


@pytest.mark.parametrize("flags", [["--bogus"], ["--resolver-ttl=x"], ["--namespace"]])
def test_errors_are_etcds(flags):
    texts = {}
    for kind in ["etcd", "martlet"]:
        done = subprocess.run([*command_of(kind), "grpc-proxy", "start", *flags],
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        texts[kind] = done.stderr.splitlines()[0]
    assert texts["martlet"] == texts["etcd"]


@pytest.mark.parametrize("flags, text", [
    (["--experimental-leasing-prefix=l"], "--experimental-leasing-prefix is not built"),
    (["--enable-pprof"], "--enable-pprof is not built"),
    (["--endpoints="], "no endpoints found"),
    (["--resolver-prefix=p"], "invalid resolver-ttl 0"),
    (["--cert-file=/nowhere"], "--cert-file and --key-file are needed together"),
    (["--listen-addr=x"], '--listen-addr: error parsing address "x"'),
])
def test_bad_settings_are_refused(flags, text):
    done = subprocess.run([*command_of("martlet"), "grpc-proxy", "start", *flags],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert text in done.stderr


def test_every_flag_of_etcds_is_known():
    names = {}
    for kind in ["etcd", "martlet"]:
        done = subprocess.run([*command_of(kind), "grpc-proxy", "start", "--help"],
                              capture_output=True, text=True, check=True, timeout=60)
        names[kind] = {line.split()[0] for line in done.stdout.splitlines()
                       if line.startswith("      --")}
    assert names["etcd"] <= names["martlet"]


# etcdctl, through Martlet's proxy to Martlet and through etcd's to etcd


SCRIPT = [
    ["put", "a", "1"],
    ["put", "b", "2", "--prev-kv"],
    ["get", "a"],
    ["get", "a", "--consistency=s"],
    ["get", "", "--prefix", "--keys-only"],
    ["get", "a", "--from-key", "--limit=1", "--write-out=json"],
    ["put", "a", "3", "--prev-kv"],
    ["get", "a", "--consistency=s"],
    ["txn"],
    ["get", "a", "z"],
    ["del", "b", "--prev-kv"],
    ["del", "nothing"],
    ["compaction", "3"],
    ["member", "list"],
    ["endpoint", "health"],
    ["lock", "l", "echo", "held"],
    ["user", "list"],
    ["role", "list"],
    ["alarm", "list"],
]
TRANSACTION = 'value("a") = "3"\n\nput a 4\nget a\n\nput a 5\n\n'


def answers(server, namespace):
    """What etcdctl prints through a proxy of the server's kind, without what must differ."""
    with proxy(server.endpoint, kind=server.kind, flags=[f"--namespace={namespace}"]) as sidecar:
        lines = []
        for words in SCRIPT:
            done = ctl(sidecar.endpoint, *words, check=False,
                       stdin=TRANSACTION if words == ["txn"] else None)
            text = done.stdout.replace(sidecar.endpoint, "<endpoint>")
            if "json" in words[-1]:
                answer = json.loads(text)
                answer.pop("header")
                text = json.dumps(answer, sort_keys=True)
            # How long it took.
            text = text.split(": took =")[0]
            lines.append((words, done.returncode, text))
        return lines


@pytest.mark.parametrize("namespace", ["", "space/"])
def test_etcdctl_sees_the_same_as_through_etcds_proxy(stubs, namespace):
    with Server("etcd") as theirs, Server("martlet") as ours:
        assert answers(ours, namespace) == answers(theirs, namespace)


def test_status_and_members_behind(server, plain):
    status = json.loads(ctl(plain.endpoint, "endpoint", "status", "-w", "json").stdout)[0]["Status"]
    direct = json.loads(ctl(server.endpoint, "endpoint", "status", "-w", "json").stdout)[0]["Status"]
    assert status["header"]["member_id"] == direct["header"]["member_id"]
    assert status["version"] == direct["version"]


def test_watch_elect_and_lease_by_etcdctl(plain):
    watcher = Running(plain, "watch", "ctl", "--prefix")
    try:
        # It prints nothing until there is something: events come when it watches.
        lines = []
        deadline = time.monotonic() + CALL_SECONDS
        reader = threading.Thread(target=lambda: lines.extend(watcher.lines(3)), daemon=True)
        reader.start()
        while reader.is_alive() and time.monotonic() < deadline:
            ctl(plain.endpoint, "put", "ctl/a", "1")
            reader.join(0.1)
        assert lines == ["PUT", "ctl/a", "1"]
    finally:
        watcher.process.kill()
        watcher.process.wait()
    elected = Running(plain, "elect", "boss", "me")
    try:
        assert elected.line().startswith("boss/")
        assert elected.line() == "me"
        observer = Running(plain, "elect", "-l", "boss")
        assert observer.line().startswith("boss/")
        assert observer.line() == "me"
        observer.process.kill()
        observer.process.wait()
    finally:
        elected.process.kill()
        elected.process.wait()
    lease = ctl(plain.endpoint, "lease", "grant", "60").stdout.split()[1]
    ctl(plain.endpoint, "put", "leased", "x", f"--lease={lease}")
    assert "attached keys([leased])" in ctl(
        plain.endpoint, "lease", "timetolive", lease, "--keys").stdout
    assert "keepalived" in ctl(plain.endpoint, "lease", "keep-alive", "--once", lease).stdout
    ctl(plain.endpoint, "lease", "revoke", lease)
    assert ctl(plain.endpoint, "get", "leased").stdout == ""


# Namespaces


def test_a_namespace_is_a_space_of_its_own(server):
    import v3election_pb2 as election_pb
    import v3election_pb2_grpc
    import v3lock_pb2 as lock_pb
    import v3lock_pb2_grpc
    with proxy(server.endpoint, flags=["--namespace=ns1/"]) as sidecar, Through(sidecar) as inside:
        server.put(b"outside", b"1")
        inside.put(b"a", b"in")
        assert server.get(b"ns1/a").kvs[0].value == b"in"
        everything = inside.get(b"\0", b"\0")
        assert [pair.key for pair in everything.kvs] == [b"a"]
        with pytest.raises(grpc.RpcError) as refused:
            inside.put(b"", b"x")
        assert "key is not provided" in refused.value.details()

        # Transactions, with those within them.
        nested = inside.pb.RequestOp(request_txn=inside.pb.TxnRequest(
            compare=[inside.pb.Compare(key=b"a", target=inside.pb.Compare.VALUE,
                                       result=inside.pb.Compare.EQUAL, value=b"in")],
            success=[inside.op_put(b"b", b"2"), inside.op_get(b"\0", b"\0")]))
        answer = inside.txn(nested, inside.op_put(b"c", b"3", prev_kv=True))
        inner = answer.responses[0].response_txn
        assert inner.succeeded
        assert [pair.key for pair in inner.responses[1].response_range.kvs] == [b"a", b"b"]
        assert server.get(b"ns1/c").count == 1

        # Watches: of a key, and of all there is.
        with watch(inside, b"\0", b"\0", prev_kv=True) as stream:
            server.put(b"outside", b"2")
            server.put(b"ns1/d", b"4")
            inside.delete(b"d")
            put, delete = events(stream, 2)
            assert put.kv.key == b"d" and delete.kv.key == b"d"
            assert delete.prev_kv.key == b"d" and delete.prev_kv.value == b"4"

        # A lease tells of the keys within.
        lease = inside.grant(60).ID
        server.put(b"outside", b"3", lease=lease)
        inside.put(b"e", b"5", lease=lease)
        keys = inside.lease.LeaseTimeToLive(
            inside.pb.LeaseTimeToLiveRequest(ID=lease, keys=True)).keys
        assert list(keys) == [b"e"]

        # Locks and elections.
        lock = v3lock_pb2_grpc.LockStub(inside.channel)
        held = lock.Lock(lock_pb.LockRequest(name=b"l", lease=lease), timeout=CALL_SECONDS)
        assert held.key.startswith(b"l/")
        assert server.get(b"ns1/" + held.key).count == 1
        lock.Unlock(lock_pb.UnlockRequest(key=held.key), timeout=CALL_SECONDS)
        assert server.get(b"ns1/" + held.key).count == 0
        election = v3election_pb2_grpc.ElectionStub(inside.channel)
        leader = election.Campaign(election_pb.CampaignRequest(
            name=b"e", lease=lease, value=b"me"), timeout=CALL_SECONDS).leader
        assert leader.name == b"e" and leader.key.startswith(b"e/")
        found = election.Leader(election_pb.LeaderRequest(name=b"e"), timeout=CALL_SECONDS)
        assert found.kv.key == leader.key and found.kv.value == b"me"
        election.Proclaim(election_pb.ProclaimRequest(leader=leader, value=b"still"),
                          timeout=CALL_SECONDS)
        assert server.get(b"ns1/" + leader.key).kvs[0].value == b"still"
        election.Resign(election_pb.ResignRequest(leader=leader), timeout=CALL_SECONDS)
        assert server.get(b"ns1/" + leader.key).count == 0

        deleted = inside.delete(b"\0", b"\0", prev_kv=True)
        assert deleted.deleted == len(deleted.prev_kvs)
        assert {pair.key[:3] for pair in deleted.prev_kvs}.isdisjoint({b"ns1"})
        assert server.get(b"outside").count == 1


# Watches


def upstream_watchers(server):
    return server.metric("etcd_debugging_mvcc_watcher_total")


def test_watches_of_one_range_share_one(server, plain, through):
    before = upstream_watchers(server)
    count = 40
    with contextlib.ExitStack() as stack:
        streams = []
        for number in range(count):
            # On connections of their own: it is not the connection that is shared.
            client = stack.enter_context(Through(plain))
            streams.append(stack.enter_context(watch(client, b"share/", b"share0")))
        wait_until(lambda: upstream_watchers(server) == before + 1,
                   "one watch at the server")
        assert metric(plain, "watchers_coalescing_total") >= count - 1
        coalesced = metric(plain, "events_coalescing_total")
        for number in range(20):
            server.put(b"share/%d" % number, b"v")
        server.put(b"share/last", b"v")
        for stream in streams:
            keys = [event.kv.key for event in events(stream, 21)]
            assert keys == [b"share/%d" % n for n in range(20)] + [b"share/last"]
        assert metric(plain, "events_coalescing_total") == coalesced + 21 * (count - 1)
        # Another form is another watch.
        other = stack.enter_context(watch(through, b"share/", b"share0", prev_kv=True))
        assert upstream_watchers(server) == before + 2
        server.put(b"share/last", b"w")
        assert events(other, 1)[0].prev_kv.value == b"v"
    wait_until(lambda: upstream_watchers(server) == before, "no watch at the server")


def test_a_watch_from_a_revision_catches_up_and_joins(server, through):
    before = upstream_watchers(server)
    first = server.put(b"past", b"0").header.revision
    with watch(through, b"past") as current:
        for number in range(1, 10):
            server.put(b"past", b"%d" % number)
        events(current, 9)
        with watch(through, b"past", start_revision=first) as late, \
                watch(through, b"past", start_revision=first + 5) as later:
            assert [e.kv.value for e in events(late, 10)] == [b"%d" % n for n in range(10)]
            assert [e.kv.value for e in events(later, 5)] == [b"%d" % n for n in range(5, 10)]
            wait_until(lambda: upstream_watchers(server) == before + 1, "all have joined")
            server.put(b"past", b"new")
            for stream in (current, late, later):
                assert [e.kv.value for e in events(stream, 1)] == [b"new"]
        # One of the future hears nothing before it.
        future = server.put(b"past", b"x").header.revision + 2
        with watch(through, b"past", start_revision=future) as ahead:
            server.put(b"past", b"too early")
            server.put(b"past", b"in time")
            assert events(ahead, 1)[0].kv.value == b"in time"


def test_a_watch_of_now_never_sees_what_was_before(server, through):
    """Also when the one that it joins has not heard of it yet."""
    with watch(through, b"now"):
        for number in range(50):
            done = server.put(b"now", b"%d" % number).header.revision
            with watch(through, b"now") as stream:
                assert stream.created.header.revision >= done
                server.put(b"now", b"after")
                event = events(stream, 1)[0]
                assert event.kv.value == b"after" and event.kv.mod_revision > done


def test_filters_progress_ids_and_cancel(server, through):
    pb = through.pb
    with watch(through, b"f", filters=[pb.WatchCreateRequest.NOPUT]) as stream:
        server.put(b"f", b"1")
        server.delete(b"f")
        assert events(stream, 1)[0].type == 1
        # Own IDs, a second time the same, and a cancel of each.
        create = pb.WatchCreateRequest(key=b"f", watch_id=7)
        stream.send(pb.WatchRequest(create_request=create))
        assert stream.next().watch_id == 7
        stream.send(pb.WatchRequest(create_request=create))
        refused = stream.next()
        assert refused.canceled and "duplicate watch ID" in refused.cancel_reason
        stream.send(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))
        progress = stream.next()
        assert progress.watch_id == -1 and not progress.events
        assert progress.header.revision >= stream.created.header.revision
        stream.send(pb.WatchRequest(cancel_request=pb.WatchCancelRequest(watch_id=7)))
        canceled = stream.next()
        assert canceled.canceled and canceled.watch_id == 7
        server.put(b"f", b"2")
        server.delete(b"f")
        assert events(stream, 1)[0].type == 1


def test_a_compacted_start_is_said(server, through):
    first = server.put(b"comp", b"1").header.revision
    last = server.put(b"comp", b"2").header.revision
    server.compact(last)
    stream = Stream(through.watch.Watch)
    with stream:
        stream.send(through.pb.WatchRequest(create_request=through.pb.WatchCreateRequest(
            key=b"comp", start_revision=first)))
        answer = stream.next()
        while not answer.canceled:
            answer = stream.next()
        assert answer.compact_revision == last


def test_watches_and_calls_outlive_the_server(stubs):
    with Server("martlet") as own, proxy(own.endpoint) as sidecar, Through(sidecar) as client:
        with watch(client, b"r/", b"r0") as one, watch(client, b"r/", b"r0") as two:
            own.put(b"r/1")
            events(one, 1), events(two, 1)
            own.restart(kill=True)
            own.put(b"r/2")
            client.put(b"r/3")
            for stream in (one, two):
                assert [e.kv.key for e in events(stream, 2)] == [b"r/2", b"r/3"]


def test_a_slow_watcher_holds_nobody_up_and_loses_nothing(server, plain, through):
    """What is sent to a client that does not read is bounded; it catches up when it does."""
    count, value = 200, b"v" * 200_000
    slow_requests: queue.Queue = queue.Queue()
    slow = Through(plain)
    call = slow.watch.Watch(iter(slow_requests.get, None), timeout=STREAM_SECONDS)
    slow_requests.put(slow.pb.WatchRequest(create_request=slow.pb.WatchCreateRequest(key=b"slow")))
    assert next(call).created
    try:
        with watch(through, b"slow") as quick:
            before = plain.resident_bytes()
            for _ in range(count):
                server.put(b"slow", value)
            assert len(events(quick, count)) == count
            assert plain.resident_bytes() - before < 30 << 20
            revisions = []
            while len(revisions) < count:
                revisions += [event.kv.mod_revision for event in next(call).events]
            assert len(set(revisions)) == count and revisions == sorted(revisions)
    finally:
        slow_requests.put(None)
        call.cancel()
        slow.channel.close()


# Leases


def test_keepalives_share_a_stream(server, plain, through):
    def streams():
        with urllib.request.urlopen(f"http://{server.endpoint}/metrics", timeout=30) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith("grpc_server_started_total") and "LeaseKeepAlive" in line:
                    return float(line.split()[1])
        return 0.0

    lease = through.grant(60).ID
    other = through.grant(30).ID
    with contextlib.ExitStack() as stack:
        alive = []
        before = streams()
        for _ in range(20):
            client = stack.enter_context(Through(plain))
            alive.append(stack.enter_context(Stream(client.lease.LeaseKeepAlive)))
        for stream in alive:
            stream.send(through.pb.LeaseKeepAliveRequest(ID=lease))
            stream.send(through.pb.LeaseKeepAliveRequest(ID=other))
        for stream in alive:
            found = {answer.ID: answer.TTL for answer in (stream.next(), stream.next())}
            assert found == {lease: 60, other: 30}
        assert streams() == before + 1
        # A lease that is no more.
        server.revoke(lease)
        alive[0].send(through.pb.LeaseKeepAliveRequest(ID=lease))
        gone = alive[0].next()
        assert (gone.ID, gone.TTL) == (lease, 0)


# The cache


def test_serializable_reads_are_kept_until_a_write(server, through, plain):
    through.put(b"cached", b"1")
    read = lambda: through.get(b"cached", serializable=True)
    assert read().kvs[0].value == b"1"
    hits = metric(plain, "cache_hits_total")
    assert read().kvs[0].value == b"1"
    assert metric(plain, "cache_hits_total") == hits + 1
    for number, write in enumerate([
            lambda v: through.put(b"cached", v),
            lambda v: through.txn(through.op_put(b"cached", v)),
            lambda v: (through.delete(b"c", b"d"), through.put(b"cached", v))]):
        value = b"v%d" % number
        write(value)
        assert read().kvs[0].value == value
    # A read of a range is one of all its keys.
    assert through.get(b"cach", b"cachf", serializable=True).count == 1
    through.put(b"cache2", b"x")
    assert through.get(b"cach", b"cachf", serializable=True).count == 2
    # Linearizable ones always ask.
    server.put(b"cached", b"beside")
    assert through.get(b"cached").kvs[0].value == b"beside"
    assert metric(plain, "cache_keys_total") > 0


def test_serializable_reads_never_go_back_when_asked_not_to(stubs):
    """Two servers that know nothing of each other stand for a member and one that lags."""
    with Server("martlet") as ahead, Server("martlet") as behind, \
            proxy(ahead.endpoint, behind.endpoint,
                  flags=["--experimental-serializable-ordering"]) as sidecar, \
            Through(sidecar) as client:
        for number in range(5):
            ahead.put(b"k", b"%d" % number)
        read = lambda: client.get(b"k", serializable=True)
        assert read().kvs[0].value == b"4"
        ahead.kill()
        with pytest.raises(grpc.RpcError) as refused:
            # The call that the lost connection takes with it may fail by itself.
            for _ in range(3):
                try:
                    read()
                except grpc.RpcError as error:
                    if error.code() != grpc.StatusCode.UNAVAILABLE:
                        raise
        assert "no cluster members have a revision higher" in refused.value.details()
        assert client.get(b"k").count == 0, "what is not serializable is answered"
        ahead.start()
        assert read().kvs[0].value == b"4"


# Who is who


def test_proxies_register_and_are_the_members(server):
    ports = [free_port(), free_port()]
    flags = ["--resolver-prefix=proxies", "--resolver-ttl=10"]
    with contextlib.ExitStack() as stack:
        sidecars = [stack.enter_context(proxy(server.endpoint, flags=[
            *flags, f"--advertise-client-url=127.0.0.1:{port}"])) for port in ports]

        def members():
            rows = json.loads(ctl(sidecars[0].endpoint, "member", "list", "-w", "json").stdout)
            return sorted(row["clientURLs"][0] for row in rows["members"])

        expected = sorted(f"127.0.0.1:{port}" for port in ports)
        wait_until(lambda: members() == expected, "both are there")
        pair = server.get(b"proxies/127.0.0.1:%d" % ports[0]).kvs[0]
        assert pair.lease != 0
        assert json.loads(pair.value)["Addr"] == f"127.0.0.1:{ports[0]}"
        # One that has lost its registration makes it anew.
        server.revoke(pair.lease)
        wait_until(lambda: members() == expected, "it has registered again")
        sidecars[1].terminate()
        assert sidecars[1].wait() == 0
        wait_until(lambda: members() == [f"127.0.0.1:{ports[0]}"], "it has left")


def test_tokens_and_errors_are_passed_on(stubs):
    with Server("martlet", ["--bcrypt-cost=4"]) as own, proxy(own.endpoint) as sidecar:
        def words(*arguments, user=None, check=True):
            return ctl(sidecar.endpoint, *([f"--user={user}"] if user else []), *arguments,
                       check=check)

        for command in (["user", "add", "root:pw"], ["user", "grant-role", "root", "root"],
                        ["user", "add", "ann:pw"], ["role", "add", "reader"],
                        ["role", "grant-permission", "reader", "readwrite", "mine/", "--prefix"],
                        ["user", "grant-role", "ann", "reader"]):
            words(*command)
        words("auth", "enable")
        words("put", "mine/a", "1", user="ann:pw")
        assert words("get", "mine/a", user="ann:pw").stdout == "mine/a\n1\n"
        for arguments in (["put", "yours", "1"], ["get", "yours"]):
            for endpoint in (sidecar.endpoint, own.endpoint):
                done = ctl(endpoint, "--user=ann:pw", *arguments, check=False)
                assert done.returncode == 1
                assert "etcdserver: permission denied" in done.stderr
        # An answer that was kept is for its own caller only.
        words("get", "mine/a", "--consistency=s", user="ann:pw")
        done = words("get", "mine/a", "--consistency=s", check=False)
        assert done.returncode == 1 and "user name is empty" in done.stderr
        # A watch that is not allowed, through the proxy as without it.
        texts = []
        for endpoint in (sidecar.endpoint, own.endpoint):
            done = ctl(endpoint, "--user=ann:pw", "watch", "yours", check=False)
            texts.append((done.returncode, done.stdout, done.stderr.splitlines()[-1:]))
        assert texts[0] == texts[1]
        assert page(sidecar, "/health").startswith('{"health":"true"')


# Operating it


def test_health_and_an_address_for_metrics(server):
    port = free_port()
    nobody = f"127.0.0.1:{free_port()}"
    with proxy(nobody, server.endpoint, flags=[f"--metrics-addr=http://127.0.0.1:{port}"]
               ) as sidecar:
        assert json.loads(page(sidecar, "/health"))["health"] == "true"
        assert json.loads(page(sidecar, "/proxy/health"))["health"] == "true"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            names = {line.split()[2] for line in answer.read().decode().splitlines()
                     if line.startswith("# TYPE")}
        assert {"etcd_grpc_proxy_cache_hits_total", "etcd_grpc_proxy_cache_misses_total",
                "etcd_grpc_proxy_cache_keys_total", "etcd_grpc_proxy_events_coalescing_total",
                "etcd_grpc_proxy_watchers_coalescing_total"} <= names
    with proxy(nobody) as sidecar:
        with pytest.raises(urllib.error.HTTPError) as unhealthy:
            page(sidecar, "/health")
        assert json.loads(unhealthy.value.read())["health"] == "false"
        done = ctl(sidecar.endpoint, "--command-timeout=2s", "get", "a", check=False)
        assert done.returncode == 1


def test_tls_on_both_sides(stubs, tmp_path):
    files = Files(tmp_path)
    identity = [f"--cacert={files.ca.certificate}", f"--cert={files.alice[0]}",
                f"--key={files.alice[1]}"]
    listening = [f"--cert-file={files.server[0]}", f"--key-file={files.server[1]}",
                 f"--trusted-ca-file={files.ca.certificate}"]
    with SecureServer("martlet", files, "mutual") as own:
        with proxy(own.endpoint, flags=[*identity, *listening]) as sidecar:
            endpoint = f"https://{sidecar.endpoint}"
            assert ctl(endpoint, *identity, "put", "a", "b").stdout == "OK\n"
            assert ctl(endpoint, *identity, "get", "a").stdout == "a\nb\n"
            for flags in ([], identity[:1]):
                done = ctl(endpoint, *flags, "--command-timeout=2s", "get", "a", check=False)
                assert done.returncode == 1, "without a certificate"
        with proxy(own.endpoint, flags=[*identity, "--auto-tls", f"--data-dir={tmp_path}/auto"]
                   ) as sidecar:
            endpoint = f"https://{sidecar.endpoint}"
            assert ctl(endpoint, "--insecure-skip-tls-verify", "--insecure-transport=false",
                       "get", "a").stdout == "a\nb\n"
        # A server whose certificate nobody vouches for.
        with proxy(own.endpoint, flags=identity[1:]) as sidecar:
            done = ctl(sidecar.endpoint, "--command-timeout=2s", "get", "a", check=False)
            assert done.returncode == 1


def test_it_ends_by_a_signal(server):
    with proxy(server.endpoint) as sidecar, Through(sidecar) as client:
        client.put(b"end", b"1")
        sidecar.terminate()
        assert sidecar.wait() == 0


def test_snapshots_and_long_ranges_pass(server, through, plain, tmp_path):
    for number in range(300):
        server.put(b"long/%03d" % number, b"v" * 10_000)
    assert len(through.get(b"long/", b"long0").kvs) == 300
    ctl(plain.endpoint, "snapshot", "save", str(tmp_path / "s.db"))
    ctl(server.endpoint, "snapshot", "save", str(tmp_path / "d.db"))
    assert (tmp_path / "s.db").stat().st_size == (tmp_path / "d.db").stat().st_size
