"""Clients that mean harm, or are broken: others are served meanwhile, and memory stays bounded.

Against Martlet only: these are bounds of our own. (Malformed input is test_bad_input.py's, TLS and
JSON have theirs in test_tls.py and test_gateway.py.)
"""

import os
import resource
import socket
import struct
import threading
import time

import grpc
import pytest

from semantics import (CHANNEL_OPTIONS, Code, Server, WatchStream, failure, prefix_end, wait_until)
from test_semantics_auth import make_keys

MIB = 1 << 20
SILENT_CONNECTIONS = int(os.environ.get("MARTLET_SILENT_CONNECTIONS", "10000"))
# A put beside an attack, on a busy machine with a debug build.
BESIDE_SECONDS = 60
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 4, 6, 7, 8


@pytest.fixture(scope="module")
def server(stubs):
    with Server("martlet") as running:
        yield running


@pytest.fixture(scope="module")
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def open_files(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


class Beside:
    """Somebody who puts and gets all the while, and must be served."""

    def __init__(self, server):
        self.server, self.worst, self.count = server, 0.0, 0
        self.stop, self.error = threading.Event(), None
        self.thread = threading.Thread(target=self.run)

    def run(self):
        import rpc_pb2_grpc
        pb = self.server.pb
        with grpc.insecure_channel(self.server.endpoint, options=CHANNEL_OPTIONS) as channel:
            kv = rpc_pb2_grpc.KVStub(channel)
            while not self.stop.is_set():
                begin = time.monotonic()
                try:
                    kv.Put(pb.PutRequest(key=b"beside", value=b"x"), timeout=BESIDE_SECONDS)
                    kv.Range(pb.RangeRequest(key=b"beside"), timeout=BESIDE_SECONDS)
                except grpc.RpcError as error:
                    self.error = error
                    return
                self.worst = max(self.worst, time.monotonic() - begin)
                self.count += 1
                self.stop.wait(0.02)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            # The last one has begun before the end, so it must end as well.
            before = self.count
            wait_until(lambda: self.error or self.count > before, "somebody beside is served")
        self.stop.set()
        self.thread.join()
        if kind is None:
            assert self.error is None, self.error
            print(f"beside: {self.count} times served, the slowest took {self.worst:.2f} s")


def connect(server):
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    connection.settimeout(60)
    return connection


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(
        ">I", stream) + payload


def literal(name, value):
    """A header as HPACK writes it without its tables."""
    parts = b"\x00"
    for text in (name.encode(), value.encode()):
        length = len(text)
        if length < 127:
            parts += bytes([length])
        else:
            parts += b"\x7f"
            length -= 127
            while length >= 128:
                parts += bytes([length & 0x7f | 0x80])
                length >>= 7
            parts += bytes([length])
        parts += text
    return parts


class RawClient:
    """An HTTP/2 client of the least kind: thousands of streams without a thread each."""

    def __init__(self, server):
        self.socket = connect(server)
        self.authority = server.endpoint
        self.buffer, self.window, self.next_stream, self.ended = b"", 65_535, 1, False
        self.frames = {}
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0))

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def open(self, path):
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        headers = b"".join(literal(*pair) for pair in (
            (":method", "POST"), (":scheme", "http"), (":path", path),
            (":authority", self.authority), ("content-type", "application/grpc"),
            ("te", "trailers")))
        self.socket.sendall(frame(HEADERS, 4, stream, headers))
        return stream

    def send(self, stream, message):
        payload = b"\0" + struct.pack(">I", len(message)) + message
        while self.window < len(payload):
            self.read_frame()
        self.window -= len(payload)
        self.socket.sendall(frame(DATA, 0, stream, payload))

    def read_exactly(self, count):
        while len(self.buffer) < count:
            part = self.socket.recv(1 << 16)
            assert part, "the server closed the connection"
            self.buffer += part
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def read_frame(self):
        head = self.read_exactly(9)
        length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        stream = int.from_bytes(head[5:], "big") & 0x7fffffff
        payload = self.read_exactly(length)
        if kind == SETTINGS and not flags & 1:
            self.socket.sendall(frame(SETTINGS, 1, 0))
        elif kind == PING and not flags & 1:
            self.socket.sendall(frame(PING, 1, 0, payload))
        elif kind == WINDOW_UPDATE and stream == 0:
            self.window += int.from_bytes(payload, "big")
        elif kind == GOAWAY:
            raise AssertionError(f"GOAWAY {payload!r}")
        elif kind == DATA and length:
            self.frames.setdefault(stream, []).append(payload)
            self.socket.sendall(
                frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", length))
                + frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", length)))
        return kind, stream, payload

    def read_until(self, condition):
        while not condition():
            self.read_frame()


# 10,000 connections that say nothing.


def test_ten_thousand_silent_connections(server, many_files):
    count = min(SILENT_CONNECTIONS, many_files - 1000)
    before, files = server.resident_bytes(), open_files(server)
    held = []
    try:
        with Beside(server):
            for number in range(count):
                held.append(connect(server))
                if number % 5 == 1:
                    held[-1].sendall(PREFACE[:number % 24])
            grown = server.resident_bytes() - before
            assert grown < count * 24 * 1024, f"{grown // count} bytes a connection"
            # They are not kept for ever.
            wait_until(lambda: open_files(server) < files + 50, "silent connections are closed")
    finally:
        for connection in held:
            connection.close()
    wait_until(lambda: server.resident_bytes() < before + 256 * MIB, "memory comes back")


# Floods of watches.


def creates_and_cancels(server, count, key):
    """Requests that make a watch and cancel it again."""
    pb = server.pb
    for number in range(count):
        yield pb.WatchRequest(create_request=pb.WatchCreateRequest(
            key=key + b"%d" % (number % 100), watch_id=number + 1))
        yield pb.WatchRequest(cancel_request=pb.WatchCancelRequest(watch_id=number + 1))


def test_flood_of_creates_and_cancels(server, key):
    count, grown = 10_000, []
    server.put(key)
    with Beside(server):
        for _ in range(4):
            call = server.watch.Watch(creates_and_cancels(server, count, key), timeout=300)
            created = canceled = 0
            while canceled < count:
                reply = next(call)
                created, canceled = created + reply.created, canceled + reply.canceled
            assert created == count
            call.cancel()
            grown.append(server.resident_bytes())
    assert grown[3] - grown[0] < 48 * MIB, [size // MIB for size in grown]
    wait_until(lambda: server.metric("etcd_debugging_mvcc_watcher_total") == 0, "no watch is left")


def test_flood_of_creates_whose_answers_are_not_read(server, key):
    pb, sent, before = server.pb, [0], server.resident_bytes()
    stop = threading.Event()

    def creates():
        while sent[0] < 60_000 and not stop.is_set():
            sent[0] += 1
            yield pb.WatchRequest(create_request=pb.WatchCreateRequest(
                key=key + b"%d" % sent[0], range_end=key + b"%d" % (sent[0] + 1)))

    with Beside(server):
        call = server.watch.Watch(creates(), timeout=300)
        # Either all are taken, or the server takes no more before its answers are.
        seen, still = -1, 0
        while sent[0] < 60_000 and still < 20:
            still = still + 1 if sent[0] == seen else 0
            seen = sent[0]
            time.sleep(0.1)
        grown = server.resident_bytes() - before
        print(f"{sent[0]} creates sent, {grown // MIB} MiB for them and their answers")
        assert grown < 400 * MIB, f"{grown // MIB} MiB for {sent[0]} watches"
        stop.set()
        call.cancel()
    wait_until(lambda: server.metric("etcd_debugging_mvcc_watcher_total") == 0, "no watch is left")


def test_compacted_creates_are_cheap(server, key):
    """Watches that are created and canceled at once by the thousand, and not read."""
    first = server.put(key).header.revision
    server.compact(server.put(key).header.revision)
    pb, before = server.pb, server.resident_bytes()

    def creates():
        for _ in range(20_000):
            yield pb.WatchRequest(create_request=pb.WatchCreateRequest(
                key=key, start_revision=first))

    with Beside(server):
        call = server.watch.Watch(creates(), timeout=300)
        canceled = 0
        while canceled < 20_000:
            canceled += next(call).canceled
        call.cancel()
    assert server.resident_bytes() - before < 128 * MIB


def test_watch_streams_that_never_read(server, key):
    """200 streams on ten connections are sent 20 MB each and take nothing of it."""
    before = server.resident_bytes()
    clients = [RawClient(server) for _ in range(10)]
    try:
        create = server.pb.WatchRequest(create_request=server.pb.WatchCreateRequest(
            key=key, range_end=prefix_end(key))).SerializeToString()
        for client in clients:
            for _ in range(20):
                client.send(client.open("/etcdserverpb.Watch/Watch"), create)
            client.read_until(lambda client=client: len(client.frames) == 20)
        assert server.metric("etcd_debugging_mvcc_watcher_total") == 200
        with Beside(server):
            for _ in range(20):
                server.txn(*[server.op_put(key + b"%d" % i, b"v" * 10_000) for i in range(100)])
            grown = server.resident_bytes() - before
            assert grown < 500 * MIB, f"{grown // MIB} MiB"
            # One that reads is not held up by those.
            with WatchStream(server) as watch:
                watch.create(key)
                revision = server.put(key).header.revision
                assert watch.next().events[0].kv.mod_revision == revision
    finally:
        for client in clients:
            client.close()
    wait_until(lambda: server.metric("etcd_debugging_mvcc_watcher_total") == 0, "no watch is left")


def test_thousands_of_watch_streams(server, key):
    count, before = 4000, server.resident_bytes()
    with RawClient(server) as client, Beside(server):
        create = server.pb.WatchRequest(
            create_request=server.pb.WatchCreateRequest(key=key)).SerializeToString()
        for _ in range(count):
            client.send(client.open("/etcdserverpb.Watch/Watch"), create)
        client.read_until(lambda: len(client.frames) == count)
        grown = server.resident_bytes() - before
        assert grown < count * 18 * 1024, f"{grown // count} bytes a stream"
        server.put(key, b"to all")
        told = set()
        while len(told) < count:
            kind, stream, payload = client.read_frame()
            # A message may be cut in two where the connection's window ends.
            if kind == DATA and payload and b"to all" in b"".join(client.frames[stream]):
                told.add(stream)
    wait_until(lambda: server.metric("etcd_debugging_mvcc_watch_stream_total") == 0, "none is left")


# Thousands of idle keepalive streams, and floods on one.


def test_thousands_of_keep_alive_streams(server):
    lease = server.grant(5000).ID
    message = server.pb.LeaseKeepAliveRequest(ID=lease).SerializeToString()
    count, before = 5000, server.resident_bytes()
    with RawClient(server) as client, Beside(server):
        streams = [client.open("/etcdserverpb.Lease/LeaseKeepAlive") for _ in range(count)]
        for stream in streams:
            client.send(stream, message)
        client.read_until(lambda: len(client.frames) == count)
        grown = server.resident_bytes() - before
        assert grown < count * 18 * 1024, f"{grown // count} bytes a stream"
    server.revoke(lease)


def test_flood_of_keep_alives_that_are_not_read(server):
    lease, before, sent = server.grant(5000).ID, server.resident_bytes(), [0]
    pb, stop = server.pb, threading.Event()

    def requests():
        while sent[0] < 60_000 and not stop.is_set():
            sent[0] += 1
            yield pb.LeaseKeepAliveRequest(ID=lease)

    with Beside(server):
        call = server.lease.LeaseKeepAlive(requests(), timeout=300)
        seen, still = -1, 0
        while sent[0] < 60_000 and still < 20:
            still = still + 1 if sent[0] == seen else 0
            seen = sent[0]
            time.sleep(0.1)
        assert server.resident_bytes() - before < 200 * MIB
        stop.set()
        call.cancel()
    server.revoke(lease)


def test_flood_of_grants_and_revokes(server):
    """Leases that come and go leave nothing behind."""
    pb, sizes = server.pb, []
    with Beside(server):
        for _ in range(4):
            for _ in range(10):
                granted = [server.lease.stub.LeaseGrant.future(
                    pb.LeaseGrantRequest(TTL=5000), timeout=60) for _ in range(200)]
                revoked = [server.lease.stub.LeaseRevoke.future(
                    pb.LeaseRevokeRequest(ID=one.result().ID), timeout=60) for one in granted]
                for one in revoked:
                    one.result()
            sizes.append(server.resident_bytes())
    assert len(server.lease.LeaseLeases(pb.LeaseLeasesRequest()).leases) == 0
    assert sizes[3] - sizes[0] < 64 * MIB, [size // MIB for size in sizes]


# Streams that are opened and forgotten.


def test_calls_without_a_message(server):
    """Streams that are opened and then say nothing; their deadline is the client's to set."""
    before = server.resident_bytes()
    with RawClient(server) as client, Beside(server):
        for number in range(5000):
            client.open(("/etcdserverpb.KV/Put", "/etcdserverpb.Watch/Watch",
                         "/etcdserverpb.Lease/LeaseKeepAlive")[number % 3])
        ping = b"12345678"
        client.socket.sendall(frame(PING, 0, 0, ping))
        while True:
            kind, _, payload = client.read_frame()
            if kind == PING and payload == ping:
                break
        assert server.resident_bytes() - before < 5000 * 18 * 1024


# Giant metadata.


@pytest.mark.parametrize("size", [20_000, 1_000_000, 8_000_000])
def test_giant_metadata(server, key, size):
    before = server.resident_bytes()
    options = [*CHANNEL_OPTIONS, ("grpc.max_metadata_size", 1 << 26)]
    import rpc_pb2_grpc
    with Beside(server):
        for _ in range(3):
            with grpc.insecure_channel(server.endpoint, options=options) as channel:
                get = rpc_pb2_grpc.KVStub(channel).Range
                request = server.pb.RangeRequest(key=key)
                for metadata in ([("token", "x" * size)],
                                 [(f"many-{i}", "y" * 1000) for i in range(size // 1000)]):
                    try:
                        get(request, metadata=metadata, timeout=60)
                    except grpc.RpcError as error:
                        assert error.code() in (
                            Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE, Code.INTERNAL,
                            Code.UNAUTHENTICATED, Code.UNKNOWN, Code.CANCELLED), error
    assert server.resident_bytes() - before < 128 * MIB


# Forged tokens, and guessed passwords.


@pytest.fixture(scope="module")
def guarded(stubs):
    with Server("martlet") as running:
        pb, auth = running.pb, running.auth
        auth.UserAdd(pb.AuthUserAddRequest(name="root", password="pw"))
        auth.UserGrantRole(pb.AuthUserGrantRoleRequest(user="root", role="root"))
        auth.AuthEnable(pb.AuthEnableRequest())
        token = auth.Authenticate(pb.AuthenticateRequest(name="root", password="pw")).token
        running.root = running.with_token(token)
        yield running


def test_forged_tokens(guarded, key):
    get, request = guarded.kv.stub.Range.future, guarded.pb.RangeRequest(key=key)
    good, sizes = guarded.root.token, []
    for round_ in range(4):
        for start in range(0, 2000, 200):
            calls = [get(request, timeout=60, metadata=[("token", f"{good[:-2]}{start}.{i}")])
                     for i in range(200)]
            assert {call.code() for call in calls} == {Code.UNAUTHENTICATED}
        guarded.root.get(key)
        sizes.append(guarded.resident_bytes())
    assert sizes[3] - sizes[0] < 32 * MIB, [size // MIB for size in sizes]


def test_expired_tokens(stubs, tmp_path, key):
    """Signed ones whose time is over, and such with a forged signature, by the thousand."""
    option = f"--auth-token={make_keys(tmp_path, 'ES256')},ttl=1s"
    with Server("martlet", [option, "--bcrypt-cost=4"]) as running:
        pb, auth = running.pb, running.auth
        auth.UserAdd(pb.AuthUserAddRequest(name="root", password="pw"))
        auth.UserGrantRole(pb.AuthUserGrantRoleRequest(user="root", role="root"))
        auth.AuthEnable(pb.AuthEnableRequest())
        login = pb.AuthenticateRequest(name="root", password="pw")
        old = auth.Authenticate(login).token
        get, request = running.kv.stub.Range.future, pb.RangeRequest(key=key)
        call = lambda token: get(request, timeout=60, metadata=[("token", token)])
        wait_until(lambda: call(old).code() == Code.UNAUTHENTICATED, "the token expires")
        head, claims, signature = auth.Authenticate(login).token.split(".")
        sizes = []
        for _ in range(4):
            for start in range(0, 1000, 100):
                calls = [call(old if number % 2 else f"{head}.{claims}.{signature[:-4]}{number:04}")
                         for number in range(start, start + 100)]
                assert {one.code() for one in calls} == {Code.UNAUTHENTICATED}
            # Others are served meanwhile; a login may take longer than its token lives.
            wait_until(lambda: call(auth.Authenticate(login).token).code() == Code.OK, "a login")
            sizes.append(running.resident_bytes())
        assert sizes[3] - sizes[0] < 32 * MIB, [size // MIB for size in sizes]


def test_guessed_passwords(guarded, key):
    """Hashing is dear: a crowd of guesses must neither queue without bound nor stop the others."""
    before, pb = guarded.resident_bytes(), guarded.pb
    calls = [guarded.auth.stub.Authenticate.future(
        pb.AuthenticateRequest(name="root", password=f"guess {i}"), timeout=120)
        for i in range(120)]
    worst = 0.0
    while not all(call.done() for call in calls):
        begin = time.monotonic()
        guarded.root.put(key)
        guarded.root.get(key)
        worst = max(worst, time.monotonic() - begin)
    assert worst < BESIDE_SECONDS
    codes = {call.code() for call in calls}
    assert codes <= {Code.INVALID_ARGUMENT, Code.RESOURCE_EXHAUSTED}, codes
    assert guarded.resident_bytes() - before < 64 * MIB
    guarded.auth.Authenticate(pb.AuthenticateRequest(name="root", password="pw"))


def test_logins_leave_nothing_behind_but_tokens(guarded):
    """A user who logs in again and again, with a password as long as a request may be."""
    before, pb = guarded.resident_bytes(), guarded.pb
    for _ in range(5):
        error = failure(guarded.auth.Authenticate,
                        pb.AuthenticateRequest(name="root", password="x" * 1_000_000))
        assert error[0] in (Code.INVALID_ARGUMENT, Code.RESOURCE_EXHAUSTED)
        error = failure(guarded.auth.Authenticate,
                        pb.AuthenticateRequest(name="n" * 1_000_000, password="x"))
        assert error[0] in (Code.INVALID_ARGUMENT, Code.RESOURCE_EXHAUSTED)
    assert guarded.resident_bytes() - before < 128 * MIB


def test_the_server_is_well_after_all_of_it(server):
    server.put(b"alive", b"yes")
    assert server.get(b"alive").kvs[0].value == b"yes" and server.is_healthy()
