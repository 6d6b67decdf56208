"""Strangers and liars at the peer port of a cluster's members: the cluster goes on, its data stays
equal, memory and log stay bounded."""

import errno
import http.client
import json
import os
import random
import socket

import grpc
import pytest

from harness import Cluster, Member, etcdctl
from test_membership import eventually

SECONDS = 60
MEMORY_BYTES_MAX = 300 << 20
LOG_BYTES_MAX = 1 << 20


@pytest.fixture(scope="module")
def cluster():
    with Cluster("martlet") as cluster:
        etcdctl(cluster.members[0], "put", "before", "1")
        yield cluster


@pytest.fixture(autouse=True)
def nothing_happened(cluster):
    """Whatever a test did: all members run, agree, take writes, and are not much larger."""
    before = [(m.resident_bytes(), os.path.getsize(m.log_path)) for m in cluster.members]
    yield
    etcdctl(cluster.members[0], "put", "after", "1", timeout=SECONDS)
    for member, (memory, log) in zip(cluster.members, before):
        assert member.process.poll() is None, member.log()
        assert member.resident_bytes() - memory < MEMORY_BYTES_MAX
        assert os.path.getsize(member.log_path) - log < LOG_BYTES_MAX

    def hashes():
        revision = json.loads(etcdctl(
            cluster.members[0], "get", "after", "-w", "json").stdout)["header"]["revision"]
        found = {json.loads(etcdctl(m, "endpoint", "hashkv", f"--rev={revision}", "-w", "json",
                                    check=False).stdout)[0]["HashKV"]["hash"]
                 for m in cluster.members}
        return len(found) == 1
    eventually("equal hashes", hashes)
    assert "CORRUPT" not in etcdctl(cluster.members[0], "alarm", "list").stdout


def port_of(cluster: Cluster) -> tuple[Member, int]:
    member = next(m for m in cluster.members if m is not cluster.leader())
    return member, member.peer_port


def exchange(port: int, data: bytes) -> bytes:
    """Sends bytes and returns what comes until the end, which closing our side brings about."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as link:
        received = b""
        try:
            link.sendall(data)
            link.shutdown(socket.SHUT_WR)
            while block := link.recv(65536):
                received += block
        except ConnectionError:
            pass
        except OSError as error:
            # The server may have reset the connection before our end of it.
            if error.errno != errno.ENOTCONN:
                raise
        return received


def test_silence_and_garbage(cluster):
    _, port = port_of(cluster)
    chance = random.Random(3)
    silent = [socket.create_connection(("127.0.0.1", port), timeout=SECONDS) for _ in range(300)]
    try:
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        for number in range(100):
            noise = chance.randbytes(chance.randrange(5000))
            exchange(port, preface + noise if number % 2 else noise)
        etcdctl(cluster.members[0], "put", "meanwhile", "1")
    finally:
        for link in silent:
            link.close()


def test_a_scan_by_http(cluster):
    _, port = port_of(cluster)
    for method, path in (("GET", "/"), ("GET", "/raft"), ("POST", "/raft/snapshot"),
                         ("GET", "/raft/stream/msgapp/1"), ("GET", "/../../etc/passwd"),
                         ("DELETE", "/members"), ("GET", "/" + "a" * 5000)):
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        link.request(method, path, headers={"X-Etcd-Cluster-ID": "1"})
        assert link.getresponse().status >= 400, (method, path)
        link.close()


# The few forms of protobuf that the forged messages need.

def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = b""
    while number >= 0x80:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def block(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def message(kind: int, sender: int, target: int, term: int, log_term: int = 0, index: int = 0,
            commit: int = 0, entries: tuple[bytes, ...] = ()) -> bytes:
    """A RaftBatch of one raftpb.Message."""
    content = (number(1, kind) + number(2, target) + number(3, sender) + number(4, term)
               + number(5, log_term) + number(6, index) + b"".join(block(7, e) for e in entries)
               + number(8, commit))
    return block(1, content)


def entry(term: int, index: int, data: bytes) -> bytes:
    return number(1, 0) + number(2, term) + number(3, index) + block(4, data)


APP, HEARTBEAT, VOTE, TIMEOUT_NOW, APP_RESPONSE = 3, 8, 5, 14, 4


class Liar:
    """A caller that says it is a member."""

    def __init__(self, founders: Cluster, target: Member, **changes: str):
        other = next(m for m in founders.members if m is not target)
        status = json.loads(etcdctl(target, "endpoint", "status", "-w", "json").stdout)[0]["Status"]
        self.target = int(founders.id_of(target), 16)
        self.sender = int(founders.id_of(other), 16)
        self.term = status["raftTerm"]
        self.metadata = [
            ("martlet-cluster", changes.get("cluster", f"{status['header']['cluster_id']:x}")),
            ("martlet-from", f"{self.sender:x}"),
            ("martlet-to", changes.get("to", f"{self.target:x}")),
            ("martlet-protocol", changes.get("protocol", "1"))]
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{target.peer_port}", options=[("grpc.max_send_message_length", -1)])

    def send(self, *batches: bytes) -> grpc.StatusCode:
        call = self.channel.stream_stream("/martletpb.Peer/RaftStream")(
            iter(batches), metadata=self.metadata, timeout=SECONDS)
        try:
            for _ in call:
                pass
            return grpc.StatusCode.OK
        except grpc.RpcError as error:
            return error.code()

    def __enter__(self) -> "Liar":
        return self

    def __exit__(self, *_) -> None:
        self.channel.close()


def test_strangers(cluster):
    target, _ = port_of(cluster)
    for changes in ({"cluster": "abc"}, {"to": "1"}, {"protocol": "99"}):
        with Liar(cluster, target, **changes) as liar:
            assert liar.send() == grpc.StatusCode.FAILED_PRECONDITION, changes
    for changes in ({"cluster": "not a number"}, {"to": ""}):
        with Liar(cluster, target, **changes) as liar:
            assert liar.send() == grpc.StatusCode.INVALID_ARGUMENT, changes
    with Liar(cluster, target) as liar:
        wrong = message(HEARTBEAT, 5, liar.target, liar.term)
        assert liar.send(wrong) == grpc.StatusCode.INVALID_ARGUMENT
        assert liar.send(b"\xff\xff\xff") != grpc.StatusCode.OK


def test_a_member_that_lies(cluster):
    """Terms that go back, or beyond all numbers; what is committed denied, and promised."""
    target, _ = port_of(cluster)
    huge = (1 << 64) - 1
    with Liar(cluster, target) as liar:
        def say(kind, term, **rest):
            return message(kind, liar.sender, liar.target, term, **rest)
        for batch in (
            say(HEARTBEAT, liar.term - 1), say(APP, 0), say(VOTE, 0), say(HEARTBEAT, huge),
            say(VOTE, huge, log_term=huge, index=huge), say(APP, liar.term, commit=huge),
            say(APP, liar.term, index=huge, log_term=huge),
            say(APP, liar.term, index=1, log_term=1, entries=(entry(huge, 2, b"x"),)),
            say(APP, liar.term, index=1, log_term=1,
                entries=(entry(1, 5, b"x"), entry(1, 3, b"y"))),
            say(APP_RESPONSE, liar.term, index=huge), say(HEARTBEAT, liar.term, commit=huge >> 1),
        ):
            assert liar.send(*[batch] * 20) in (
                grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT), batch
    assert "a message of a peer is refused" in target.log()


def test_messages_that_are_too_large(cluster):
    target, _ = port_of(cluster)
    with Liar(cluster, target) as liar:
        big = message(APP, liar.sender, liar.target, liar.term,
                      entries=(entry(liar.term, 1 << 40, b"x" * (80 << 20)),))
        for _ in range(3):
            assert liar.send(big) == grpc.StatusCode.RESOURCE_EXHAUSTED
        # As large as may be, of an index that nobody waits for.
        fits = message(APP, liar.sender, liar.target, liar.term - 1,
                       entries=(entry(1, 1 << 40, b"x" * (30 << 20)),))
        assert liar.send(*[fits] * 5) == grpc.StatusCode.OK
