"""gRPC and HTTP as strange clients speak them: deadlines, cancellation, compression, large and deep
requests, thousands of connections, pings, pipelining, reflection."""

import http.client
import os
import random
import resource
import socket
import subprocess
import threading
import time

import grpc
import pytest

from harness import Member, etcdctl, load

IDLE_CONNECTIONS = int(os.environ.get("MARTLET_IDLE_CONNECTIONS", "2000"))
MEBIBYTE = 1 << 20
REQUEST_BYTES_MAX = 1_572_864
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
             ("grpc.use_local_subchannel_pool", 1)]


@pytest.fixture(scope="module")
def api(stubs):
    import rpc_pb2
    import rpc_pb2_grpc
    return rpc_pb2, rpc_pb2_grpc


@pytest.fixture
def kv(api, martlet):
    with grpc.insecure_channel(martlet.endpoint, options=UNLIMITED) as channel:
        yield api[1].KVStub(channel)


@pytest.fixture(scope="module")
def filled(api, martlet):
    """40,000 keys under big/: a range that takes a while."""
    pb, grpc_ = api
    with grpc.insecure_channel(martlet.endpoint) as channel:
        stub = grpc_.KVStub(channel)
        for start in range(0, 40_000, 100):
            stub.Txn(pb.TxnRequest(success=[
                pb.RequestOp(request_put=pb.PutRequest(key=b"big/%06d" % n, value=b"v" * 500))
                for n in range(start, start + 100)]))
    return pb.RangeRequest(key=b"big/", range_end=b"big0")


def put(pb, key, value=b"x"):
    return pb.RequestOp(request_put=pb.PutRequest(key=key, value=value))


def failure(call, *arguments, **options):
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **options)
    return caught.value.code(), caught.value.details()


def test_deadline(api, kv, filled):
    """A deadline that cannot be met ends the call; the next one works."""
    for _ in range(20):
        code, _ = failure(kv.Range, filled, timeout=0.001)
        assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert kv.Range(filled, timeout=60).count == 40_000


def test_deadline_is_the_servers_too(martlet, filled):
    """The server ends a call at its deadline by itself: curl knows nothing of grpc-timeout."""
    message = filled.SerializeToString()
    for timeout in ("1n", "1u", "1m"):
        done = subprocess.run(
            ["curl", "-s", "-v", "--http2-prior-knowledge", "--data-binary", "@-",
             "--max-time", "10", "-H", "content-type: application/grpc", "-H", "te: trailers",
             "-H", f"grpc-timeout: {timeout}", "-o", "/dev/null",
             f"http://{martlet.endpoint}/etcdserverpb.KV/Range"],
            input=b"\0" + len(message).to_bytes(4, "big") + message, capture_output=True, timeout=30)
        # curl 7.88 says nothing of an answer that comes before it has sent its body.
        assert b"grpc-status: 4" in done.stderr or done.returncode == 92, done.stderr


def test_cancellation(api, kv, martlet, filled):
    """Calls that are cancelled at any point leave nothing behind."""
    rng = random.Random(5)
    for _ in range(30):
        call = kv.Range.future(filled)
        stream = kv.RangeStream(filled)
        time.sleep(rng.uniform(0, 0.004))
        call.cancel()
        if rng.random() < 0.5:
            next(stream)
        stream.cancel()
    before = martlet.resident_bytes()
    for _ in range(30):
        kv.Range.future(filled).cancel()
        kv.RangeStream(filled).cancel()
    assert kv.Range(filled, timeout=60).count == 40_000
    assert martlet.resident_bytes() < before + 300 * MEBIBYTE


def test_cancelled_reads_are_dropped(kv, filled):
    """Long reads that nobody waits for any more do not hold up those behind them."""
    begin = time.monotonic()
    kv.Range(filled, timeout=60)
    once = time.monotonic() - begin
    for _ in range(200):
        kv.Range.future(filled).cancel()
    begin = time.monotonic()
    kv.Range(filled, timeout=60)
    print(f"a read behind 200 that were taken back: {time.monotonic() - begin:.2f} s, alone {once:.2f} s")


def test_gzip(api, kv):
    pb, _ = api
    value = bytes(random.Random(1).choices(b"ab", k=300_000))
    kv.Put(pb.PutRequest(key=b"gz", value=value), compression=grpc.Compression.Gzip)
    answer = kv.Range(pb.RangeRequest(key=b"gz"), compression=grpc.Compression.Gzip)
    assert answer.kvs[0].value == value
    kv.Put(pb.PutRequest(key=b"gz/empty", value=b""), compression=grpc.Compression.Gzip)
    bomb = pb.PutRequest(key=b"gz/bomb", value=b"\0" * (64 * MEBIBYTE))
    code, _ = failure(kv.Put, bomb, compression=grpc.Compression.Gzip)
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert kv.Range(pb.RangeRequest(key=b"gz")).count == 1


def test_unknown_encoding(kv, api):
    pb, _ = api
    code, text = failure(
        kv.Put, pb.PutRequest(key=b"k", value=b"v" * 1000), compression=grpc.Compression.Deflate)
    assert code == grpc.StatusCode.UNIMPLEMENTED and "deflate" in text


def test_broken_gzip(martlet):
    """Says gzip, is not: an error, and the connection lives."""
    for payload in (b"not gzip at all", b"\x1f\x8b\x08\0\0\0\0\0\0\3", b""):
        message = b"\1" + len(payload).to_bytes(4, "big") + payload
        done = subprocess.run(
            ["curl", "-s", "-v", "--http2-prior-knowledge", "--data-binary", "@-",
             "-H", "content-type: application/grpc", "-H", "te: trailers",
             "-H", "grpc-encoding: gzip", "--max-time", "10",
             f"http://{martlet.endpoint}/etcdserverpb.KV/Put"],
            input=message, capture_output=True, timeout=30)
        assert b"grpc-status: 13" in done.stderr, (payload, done.stderr)


def test_large_values(api, kv, both):
    """The size limit lies at the very byte where etcd's lies."""
    pb, grpc_ = api
    outcomes = []
    for member in both:
        with grpc.insecure_channel(member.endpoint, options=UNLIMITED) as channel:
            stub, row = grpc_.KVStub(channel), []
            for size in (1_000_000, REQUEST_BYTES_MAX - 1000, REQUEST_BYTES_MAX + 100,
                         REQUEST_BYTES_MAX + 400_000, REQUEST_BYTES_MAX + 530_000):
                try:
                    stub.Put(pb.PutRequest(key=b"k", value=b"x" * size), timeout=60)
                    got = stub.Range(pb.RangeRequest(key=b"k"), timeout=60).kvs[0].value
                    row.append(len(got))
                except grpc.RpcError as error:
                    row.append(error.code())
            outcomes.append(row)
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][:2] == [1_000_000, REQUEST_BYTES_MAX - 1000]


def nested(pb, depth):
    txn = pb.TxnRequest(success=[put(pb, b"deep", b"%d" % depth)])
    for _ in range(depth):
        txn = pb.TxnRequest(success=[pb.RequestOp(request_txn=txn)])
    return txn


def test_wide_and_deep_txns(api, both):
    """128 operations and no more; nesting as deep as etcd allows it, with the same outcomes."""
    pb, grpc_ = api
    requests = [pb.TxnRequest(success=[put(pb, b"w%d" % n) for n in range(count)])
                for count in (1, 127, 128, 129)]
    requests += [nested(pb, depth) for depth in (1, 2, 30)]
    requests += [pb.TxnRequest(compare=[pb.Compare(key=b"a", version=0)] * count)
                 for count in (128, 129)]
    requests += [pb.TxnRequest(
        success=[put(pb, b"v%d" % n) for n in range(127)] + [pb.RequestOp(
            request_txn=pb.TxnRequest(success=[put(pb, b"u%d" % n) for n in range(inner)]))])
        for inner in (1, 2, 128)]
    requests += [pb.TxnRequest(success=[pb.RequestOp()]), pb.TxnRequest()]
    answers = []
    for member in both:
        with grpc.insecure_channel(member.endpoint, options=UNLIMITED) as channel:
            stub, row = grpc_.KVStub(channel), []
            for request in requests:
                try:
                    answer = stub.Txn(request, timeout=60)
                    row.append((answer.header.revision, len(answer.responses)))
                except grpc.RpcError as error:
                    row.append((error.code(), error.details()))
            answers.append(row)
    assert answers[0] == answers[1]


def test_txn_sixty_deep(api, kv, martlet):
    """Deeper than many parsers go: done, or refused with a reason, and never half done."""
    pb, _ = api
    with grpc.insecure_channel(martlet.endpoint, options=UNLIMITED) as channel:
        txn = channel.unary_unary("/etcdserverpb.KV/Txn", lambda m: m, lambda m: m)
        for depth in (40, 60, 300, 3000):
            try:
                txn(nested_bytes(pb, depth), timeout=60)
            except grpc.RpcError as error:
                assert depth > 60, error
                assert error.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT)
            else:
                assert kv.Range(pb.RangeRequest(key=b"deep")).kvs[0].value == b"%d" % depth


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7f | 0x80])
        value >>= 7
    return out + bytes([value])


def nested_bytes(pb, depth):
    """As `nested`, without Python's own limit of nesting."""
    content = pb.TxnRequest(success=[put(pb, b"deep", b"%d" % depth)]).SerializeToString()
    for _ in range(depth):
        operation = b"\x22" + varint(len(content)) + content
        content = b"\x12" + varint(len(operation)) + operation
    return content


def test_range_stream_under_writes_and_compaction(api, kv, martlet, filled):
    """A long read sees one revision whatever is written, compacted and defragmented beside it."""
    pb, _ = api
    stopped = threading.Event()
    problems = []

    def disturb():
        number = 0
        while not stopped.is_set():
            number += 1
            try:
                last = kv.Put(pb.PutRequest(
                    key=b"big/%06d" % (number * 37 % 40_000), value=b"changed")).header.revision
                kv.Put(pb.PutRequest(key=b"big/%06d/new" % number, value=b"new"))
                kv.DeleteRange(pb.DeleteRangeRequest(key=b"big/%06d/new" % number))
                if number % 50 == 0:
                    kv.Compact(pb.CompactionRequest(revision=last))
            except grpc.RpcError as error:
                problems.append(error)
                return
    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        for round_ in range(3):
            pairs = []
            for message in kv.RangeStream(filled, timeout=60):
                pairs += message.range_response.kvs
                if round_ and len(pairs) < 30_000:
                    time.sleep(0.01)
            last = message.range_response
            assert last.count == len(pairs) in (40_000, 40_001)
            keys = [pair.key for pair in pairs]
            assert keys == sorted(set(keys))
            assert max(pair.mod_revision for pair in pairs) <= last.header.revision
            unary = kv.Range(filled, timeout=30)
            assert unary.count == len(unary.kvs) in (40_000, 40_001)
    finally:
        stopped.set()
        thread.join()
    assert not problems


def test_pinned_reads_and_compaction(api, kv, martlet):
    """Reads at old revisions beside compaction: either the whole answer or `compacted`."""
    pb, _ = api
    history = {}
    for number in range(300):
        answer = kv.Txn(pb.TxnRequest(success=[
            put(pb, b"pin/%02d" % key, b"%d" % number) for key in range(20)]))
        history[answer.header.revision] = b"%d" % number
    revisions, problems = sorted(history), []

    def read(seed):
        rng = random.Random(seed)
        with grpc.insecure_channel(martlet.endpoint, options=UNLIMITED) as channel:
            stub = api[1].KVStub(channel)
            for _ in range(150):
                revision = rng.choice(revisions)
                try:
                    answer = stub.Range(pb.RangeRequest(
                        key=b"pin/", range_end=b"pin0", revision=revision,
                        serializable=rng.random() < 0.5), timeout=60)
                    if [pair.value for pair in answer.kvs] != [history[revision]] * 20:
                        problems.append((seed, revision, answer))
                except grpc.RpcError as error:
                    if "has been compacted" not in error.details():
                        problems.append(error)
    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for revision in revisions[::15]:
        kv.Compact(pb.CompactionRequest(revision=revision, physical=revision % 2 == 0))
    for thread in threads:
        thread.join()
    assert not problems


def test_idle_connections(api, martlet):
    """Thousands of idle gRPC connections: memory stays bounded, others are served, all are alive."""
    pb, grpc_ = api
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(IDLE_CONNECTIONS, (hard if hard > 0 else 1 << 20) - 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 400), hard))
    start = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4" + bytes(5)
    before, held = martlet.resident_bytes(), []
    try:
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", martlet.port), timeout=60)
            connection.sendall(start)
            held.append(connection)
        for connection in held:
            assert connection.recv(9)[3] == 4, "no SETTINGS"
        assert martlet.resident_bytes() < before + count * 64 * 1024
        begin = time.monotonic()
        etcdctl(martlet, "put", "beside", "idle")
        print(f"a put beside idle connections: {time.monotonic() - begin:.2f} s")
        time.sleep(12)  # Longer than a client may take for its first bytes.
        ping = b"\0\0\10\6\0\0\0\0\0whatever"
        for connection in held[::100]:
            connection.sendall(ping)
            data = b""
            while b"whatever" not in data:
                part = connection.recv(4096)
                assert part, "an idle connection was closed"
                data += part
    finally:
        for connection in held:
            connection.close()
    deadline = time.monotonic() + 60
    while open_files(martlet) > 200 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert open_files(martlet) <= 200, "closed connections are still open here"


def open_files(member):
    return len(os.listdir(f"/proc/{member.process.pid}/fd"))


def test_http_1_pipelining(martlet):
    """Many requests in one packet, answered in order; the last says close."""
    connection = socket.create_connection(("127.0.0.1", martlet.port), timeout=60)
    paths = ["/health", "/version", "/nothing", "/livez"] * 20
    connection.sendall(b"".join(
        f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for path in paths)
        + b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    received = b""
    while part := connection.recv(65536):
        received += part
    statuses = [line.split()[1] for line in received.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")
                or b"HTTP/1.1 " in line]
    assert received.count(b"HTTP/1.1 200") == 61 and received.count(b"HTTP/1.1 404") == 20
    assert len(statuses) == 81
    connection.close()


def test_h2c_with_curl(martlet):
    for arguments in (["--http2-prior-knowledge"], ["--http1.1"], ["--http2"]):
        for path in ("/health", "/version", "/metrics"):
            done = subprocess.run(
                ["curl", "-s", *arguments, "--max-time", "10", "-o", "/dev/null",
                 "-w", "%{http_code}", f"http://{martlet.endpoint}{path}"],
                capture_output=True, text=True, timeout=30)
            assert done.stdout == "200", (arguments, path, done)


def raw_call(member, path, *headers, message=None):
    """A call by curl: what comes before the message, the message, and all of the headers and trailers."""
    arguments = [part for header in headers for part in ("-H", header)]
    if message is not None:
        arguments += ["--data-binary", "@-"]
        message = b"\0" + len(message).to_bytes(4, "big") + message
    for _ in range(10):
        done = subprocess.run(
            ["curl", "-s", "--http2-prior-knowledge", "--max-time", "30", "-X", "POST", "-D", "-",
             *arguments, f"http://{member.endpoint}{path}"],
            input=message, capture_output=True, timeout=60)
        # This curl may lose an answer that comes before its request has ended.
        if done.stdout:
            break
    head, _, rest = done.stdout.partition(b"\r\n\r\n")
    fields = [line.decode().split(": ", 1) for line in head.split(b"\r\n")[1:]]
    return head.split(b"\r\n")[0].strip(), {name: value for name, value in fields}, rest


@pytest.mark.parametrize("kind", ["etcd", "martlet"])
def test_heads_of_calls(api, request, kind):
    """Content types, and errors that are known at once: one block of headers, the text encoded."""
    pb, member = api[0], request.getfixturevalue(kind)
    put_message = pb.PutRequest(key=b"raw", value=b"v").SerializeToString()
    for content_type in ("application/grpc", "application/grpc+proto", "application/grpc;x=y"):
        status, fields, body = raw_call(
            member, "/etcdserverpb.KV/Put", f"content-type: {content_type}", "te: trailers",
            message=put_message)
        assert status == b"HTTP/2 200" and fields["content-type"].startswith("application/grpc")
        # Headers, the message, and trailers behind it.
        assert "grpc-status" not in fields
        assert body.startswith(b"\0\0\0\0") and b"grpc-status: 0" in body
    usual = ("content-type: application/grpc", "te: trailers")
    for path, code, text in (
            ("/etcdserverpb.KV/A%25b", "12", "unknown method A%2525b for service etcdserverpb.KV"),
            ("/no.Such/Put", "12", "unknown service no.Such")):
        status, fields, body = raw_call(member, path, *usual)
        assert (status, fields["grpc-status"], fields["grpc-message"]) == (
            b"HTTP/2 200", code, text), fields
        assert body == b"", "trailers only"
    status, fields, body = raw_call(member, "/etcdserverpb.KV/Range", *usual, message=b"")
    assert (fields.get("grpc-status"), fields.get("grpc-message")) == (
        "3", "etcdserver: key is not provided") and body == b""


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection(stubs, martlet, version):
    """What grpcurl does: list the services, fetch each one's file and all that it needs."""
    from google.protobuf import descriptor_pb2, descriptor_pool
    pb, grpc_ = load(stubs, f"reflection/{version}", "reflection")
    with grpc.insecure_channel(martlet.endpoint) as channel:
        stub = grpc_.ServerReflectionStub(channel)

        def ask(**question):
            request = pb.ServerReflectionRequest(**question)
            (answer,) = list(stub.ServerReflectionInfo(iter([request]), timeout=60))
            return answer
        names = [s.name for s in ask(list_services="*").list_services_response.service]
        for name in ("etcdserverpb.KV", "etcdserverpb.Maintenance", "grpc.health.v1.Health"):
            assert name in names
        files = {}
        for name in names:
            answer = ask(file_containing_symbol=name)
            for content in answer.file_descriptor_response.file_descriptor_proto:
                file = descriptor_pb2.FileDescriptorProto.FromString(content)
                files[file.name] = file
        missing = True
        while missing:
            missing = {d for f in files.values() for d in f.dependency} - set(files)
            for name in missing:
                content = ask(file_by_filename=name).file_descriptor_response
                file = descriptor_pb2.FileDescriptorProto.FromString(
                    content.file_descriptor_proto[0])
                assert file.name == name
                files[name] = file
        pool = descriptor_pool.DescriptorPool()
        added = set()

        def add(name):
            if name not in added:
                added.add(name)
                for dependency in files[name].dependency:
                    add(dependency)
                pool.Add(files[name])
        for name in files:
            add(name)
        for name in names:
            assert pool.FindServiceByName(name).methods
        assert pool.FindMessageTypeByName("etcdserverpb.RangeRequest").fields_by_name["limit"]
        assert ask(file_containing_symbol="no.Such").error_response.error_code == 5
        assert ask(file_by_filename="no.proto").error_response.error_code == 5


def test_keepalive_pings(api, martlet):
    """Pings at the pace that the server permits keep a connection; too many end it."""
    pb, grpc_ = api
    options = [("grpc.keepalive_time_ms", 6000), ("grpc.keepalive_timeout_ms", 20_000),
               ("grpc.keepalive_permit_without_calls", 1), ("grpc.http2.max_pings_without_data", 0),
               ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(martlet.endpoint, options=options) as channel:
        stub, states = grpc_.KVStub(channel), []
        stub.Put(pb.PutRequest(key=b"pinged", value=b"1"))
        channel.subscribe(states.append)
        time.sleep(13)
        stub.Put(pb.PutRequest(key=b"pinged", value=b"2"))
        assert grpc.ChannelConnectivity.TRANSIENT_FAILURE not in states
        assert states.count(grpc.ChannelConnectivity.CONNECTING) == 0, states
    connection = socket.create_connection(("127.0.0.1", martlet.port), timeout=60)
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4" + bytes(5))
    received = b""
    for number in range(8):
        try:
            connection.sendall(b"\0\0\10\6\0\0\0\0\0" + b"%08d" % number)
        except ConnectionError:
            break
        time.sleep(0.05)
    try:
        while part := connection.recv(4096):
            received += part
    except ConnectionError:
        pass
    connection.close()
    assert b"too_many_pings" in received, received


def test_json_gateway_or_not(martlet):
    """POST /v3/...: served as JSON, or clearly not there; never a hang or a reset."""
    connection = http.client.HTTPConnection("127.0.0.1", martlet.port, timeout=60)
    connection.request("POST", "/v3/kv/put", body=b'{"key":"Zm9v","value":"YmFy"}')
    answer = connection.getresponse()
    answer.read()
    assert answer.status in (200, 404, 405, 501)
    connection.close()


def test_reading_beside_a_member_that_stops(api):
    """A graceful stop lets a stream that is being read come to its end, or ends it with an error:
    a client never takes a part for the whole."""
    pb, grpc_ = api
    member = Member("martlet").start()
    try:
        with grpc.insecure_channel(member.endpoint, options=UNLIMITED) as channel:
            stub = grpc_.KVStub(channel)
            for number in range(60):
                stub.Put(pb.PutRequest(key=b"s/%03d" % number, value=b"x" * 500_000))
            stream = stub.RangeStream(pb.RangeRequest(key=b"s/", range_end=b"s0"), timeout=30)
            count = len(next(stream).range_response.kvs)
            member.process.terminate()
            try:
                for message in stream:
                    count += len(message.range_response.kvs)
                assert count == 60 and message.range_response.count == 60
            except grpc.RpcError as error:
                assert error.code() in (
                    grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED), error
        assert member.process.wait(15) == 0
    finally:
        member.close()
