"""Bad input: each gets its error or is cut off, the member stays up and its memory bounded."""

import http.client
import socket
import struct
import subprocess
import time

import grpc
import pytest

from harness import Member, etcdctl

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.fixture(scope="module")
def member():
    with Member("martlet") as running:
        yield running


@pytest.fixture(autouse=True)
def still_serves(member):
    """After each test the member answers others, and has not grown beyond bounds."""
    before = member.resident_bytes()
    yield
    etcdctl(member, "put", "alive", "yes")
    assert etcdctl(member, "get", "alive").stdout == "alive\nyes\n"
    assert member.resident_bytes() < before + 300 * 1024 * 1024


def raw(channel, path):
    return channel.unary_unary(path, lambda message: message, lambda message: message)


def code(call, message, **options):
    with pytest.raises(grpc.RpcError) as caught:
        call(message, timeout=20, **options)
    return caught.value.code()


@pytest.fixture
def channel(member):
    with grpc.insecure_channel(
            member.endpoint, options=[("grpc.max_send_message_length", -1)]) as channel:
        yield channel


def test_malformed_messages(channel):
    put = raw(channel, "/etcdserverpb.KV/Put")
    for message in (b"\xff" * 10, b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x05ab", b"\x0b", b"\x0a"):
        assert code(put, message) == grpc.StatusCode.INTERNAL
    txn = raw(channel, "/etcdserverpb.KV/Txn")
    assert code(txn, nested_txns(130_000)) in (
        grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT)
    add = raw(channel, "/etcdserverpb.Auth/UserAdd")
    assert code(add, b"\x0a\x02\xff\xfe") in (
        grpc.StatusCode.INTERNAL, grpc.StatusCode.UNIMPLEMENTED)


def nested_txns(depth):
    """A TxnRequest whose one operation is a TxnRequest, and so on; the lengths inside out."""
    parts, size = [], 0
    for _ in range(depth):
        inner = b"\x22" + varint(size)
        outer = b"\x12" + varint(len(inner) + size)
        parts.append(outer + inner)
        size += len(outer) + len(inner)
    return b"".join(reversed(parts))


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7f | 0x80])
        value >>= 7
    return out + bytes([value])


def test_unknown_methods(channel):
    for path in ("/etcdserverpb.KV/Nothing", "/no.Such/Service", "/x", "/a/b/c/d"):
        assert code(raw(channel, path), b"") == grpc.StatusCode.UNIMPLEMENTED


def test_oversized_message(channel):
    put = raw(channel, "/etcdserverpb.KV/Put")
    assert code(put, b"\x0a\x01k\x12" + varint(3 << 20) + b"x" * (3 << 20)) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED)


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(
        ">I", stream) + payload


def connect(member):
    connection = socket.create_connection(("127.0.0.1", member.port), timeout=20)
    return connection


def closed_within(connection, seconds):
    """Whether the peer closes, whatever it sends before."""
    deadline = time.monotonic() + seconds
    connection.settimeout(seconds)
    try:
        while time.monotonic() < deadline:
            if not connection.recv(65536):
                return True
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return False


def test_wrong_content_type(member):
    # Without a body: curl 7.88 takes the reset (NO_ERROR) behind an early answer for a failure when
    # it comes before curl has sent its body, though RFC 9113 8.1 has it so.
    done = subprocess.run(
        ["curl", "-s", "--http2-prior-knowledge", "-o", "/dev/null", "-w", "%{http_code}",
         "-H", "content-type: text/html", "-X", "POST", "--max-time", "10",
         f"http://{member.endpoint}/etcdserverpb.KV/Put"],
        capture_output=True, text=True, timeout=30)
    assert done.stdout == "415", done


def test_garbage_and_floods_are_cut_off(member):
    ping = frame(6, 0, 0, b"12345678")
    settings = frame(4, 0, 0, b"\0\3\0\0\0\1")
    start = PREFACE + frame(4, 0, 0)
    attacks = {
        "garbage after the preface": start + b"\xff" * 5000,
        "pings": start + ping * 200_000,
        "settings": start + settings * 200_000,
        "empty data on no stream": start + frame(0, 0, 1) * 100_000,
        "endless continuation": start + frame(1, 0, 1, b"\x00\x01a\x01b") +
        frame(9, 0, 1, b"\x00\x01a\x01b") * 100_000,
        "window overflow": start + frame(8, 0, 0, b"\x7f\xff\xff\xff") * 3,
    }
    for name, attack in attacks.items():
        connection = connect(member)
        try:
            connection.sendall(attack)
        except ConnectionError:
            connection.close()
            continue
        assert closed_within(connection, 20), name
        connection.close()


def test_rapid_reset_is_cut_off(member):
    def literal(name, value):
        return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
    headers = b"".join([
        literal(b":method", b"POST"), literal(b":scheme", b"http"),
        literal(b":path", b"/etcdserverpb.KV/Range"), literal(b":authority", b"x"),
        literal(b"content-type", b"application/grpc"), literal(b"te", b"trailers")])
    connection = connect(member)
    attack = b"".join(
        frame(1, 4, stream, headers) + frame(3, 0, stream, struct.pack(">I", 8))
        for stream in range(1, 100_001, 2))
    try:
        connection.sendall(PREFACE + frame(4, 0, 0) + attack)
        assert closed_within(connection, 20)
    except ConnectionError:
        pass
    connection.close()


def test_clients_that_say_nothing(member):
    """Silent connections and half requests do not keep others from being served."""
    held = [connect(member) for _ in range(300)]
    for number, connection in enumerate(held):
        if number % 3 == 1:
            connection.sendall(PREFACE[:10])
        elif number % 3 == 2:
            connection.sendall(b"GET /health HTT")
    etcdctl(member, "put", "while", "held")
    assert closed_within(held[0], 30) and closed_within(held[1], 30)
    for connection in held:
        connection.close()


def test_a_client_that_never_reads(member, stubs):
    """It asks for large answers and takes none: its connection stalls, nobody else's does."""
    import rpc_pb2
    import rpc_pb2_grpc
    with grpc.insecure_channel(member.endpoint) as channel:
        kv = rpc_pb2_grpc.KVStub(channel)
        for number in range(40):
            kv.Put(rpc_pb2.PutRequest(key=b"large/%d" % number, value=b"x" * 1_000_000))
        before = member.resident_bytes()
        streams = [kv.RangeStream(rpc_pb2.RangeRequest(key=b"large/", range_end=b"large0"))
                   for _ in range(20)]
        for stream in streams:
            next(stream)
        time.sleep(1)
        assert member.resident_bytes() < before + 200 * 1024 * 1024
        for stream in streams:
            stream.cancel()


def test_http_1(member):
    connection = http.client.HTTPConnection("127.0.0.1", member.port, timeout=60)
    for path, status in (("/health", 200), ("/livez", 200), ("/readyz?verbose", 200),
                         ("/version", 200), ("/metrics", 200), ("/nothing", 404),
                         ("/readyz/linearizable_read", 200), ("/livez/nonsense", 404)):
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == status, (path, body)
    connection.request("POST", "/health", body=b"x")
    assert connection.getresponse().status == 405
    connection.close()
    broken = connect(member)
    broken.sendall(b"GET / HTTP/1.1\r\nX: " + b"y" * 200_000 + b"\r\n\r\n")
    assert closed_within(broken, 20)
    broken.close()
