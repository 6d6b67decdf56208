"""The JSON gateway: the same requests to Martlet and to etcd 3.4, and the same answers."""

import contextlib
import http.client
import json
import socket
import subprocess
import threading

import pytest

import harness

# What differs from server to server by its nature.
VARYING = {"cluster_id", "member_id", "raft_term", "raftTerm", "raftIndex", "raftAppliedIndex"}


def post(member, path, body, headers=None):
    """One request; the status and the parsed body."""
    connection = http.client.HTTPConnection("127.0.0.1", member.port, timeout=60)
    data = body if isinstance(body, (str, bytes)) else json.dumps(body)
    connection.request("POST", path, data, headers or {})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if "json" not in (answer.getheader("Content-Type") or ""):
        return answer.status, text.decode()
    return answer.status, json.loads(text)


def plain(value):
    """Without what varies; a header without a revision stays a header."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k not in VARYING}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return value


def same(both, path, body, headers=None):
    ours, theirs = (post(member, path, body, headers) for member in both)
    assert (ours[0], plain(ours[1])) == (theirs[0], plain(theirs[1])), (path, body)
    return ours


def test_kv(both):
    same(both, "/v3/kv/put", {"key": "Zm9v", "value": "YmFy"})
    same(both, "/v3/kv/put", {"key": "Zm9v", "value": "YmF6", "prev_kv": True})
    same(both, "/v3/kv/put", {"key": "Zm9w", "value": "", "lease": 0})
    same(both, "/v3/kv/range", {"key": "Zm9v"})
    same(both, "/v3/kv/range", {"key": "Zm9v", "rangeEnd": "AA==", "sort_order": "DESCEND",
                                "sortTarget": 1, "limit": "5", "keys_only": True})
    same(both, "/v3/kv/range", {"key": "AA==", "range_end": "AA==", "countOnly": True})
    same(both, "/v3/kv/txn", {
        "compare": [{"key": "Zm9v", "target": "VERSION", "result": "GREATER", "version": "0"}],
        "success": [{"requestPut": {"key": "Zm9v", "value": "YmF6"}},
                    {"request_range": {"key": "Zm9v"}}],
        "failure": []})
    same(both, "/v3/kv/deleterange", {"key": "Zm9v", "prev_kv": True})
    same(both, "/v3/kv/compaction", {"revision": "3"})
    same(both, "/v3/kv/range", {"key": "Zm9v", "revision": 2})


@pytest.mark.parametrize("body", [
    "", "{}", "null", "[]", '{"key":"Zm9v"', '{"key":"Zm9v"} trailing', '{"key":"Zm9v","x":[1]}',
    '{"key":null}', '{"key":"!!"}', '{"key":5}', '{"key":"Zm9v","limit":1.5}',
    '{"key":"Zm9v","limit":"1e2"}', '{"key":"Zm9v","limit":99999999999999999999}',
    '{"key":"Zm9v","limit":true}', '{"key":"Zm9v","keys_only":"true"}',
    '{"key":"Zm9v","sort_order":"FOO"}', '{"key":"Zm9v","key":"AA=="}', '{"KEY":"Zm9v"}',
    '{"key":"Zm\\n9v"}', '{"key":"Zm9v","revision":"1000"}', '{"key":"Zm9v","limit":""}',
])
def test_what_is_wrong_is_told_alike(body, martlet, etcd):
    same((martlet, etcd), "/v3/kv/range", body)


def test_paths_and_methods(martlet, etcd):
    both = (martlet, etcd)
    for path in ("/v3/kv/nope", "/v3/kv/range/", "/v3/"):
        same(both, path, "{}")
    for method in ("GET", "PUT", "OPTIONS", "HEAD"):
        answers = []
        for member in both:
            connection = http.client.HTTPConnection("127.0.0.1", member.port, timeout=60)
            connection.request(method, "/v3/kv/range")
            answer = connection.getresponse()
            names = ("Access-Control-Allow-Headers", "Access-Control-Allow-Methods",
                     "Access-Control-Allow-Origin")
            answers.append((answer.status, answer.read(), [answer.getheader(n) for n in names]))
            connection.close()
        assert answers[0] == answers[1], method


def test_lease(both):
    same(both, "/v3/lease/grant", {"TTL": "60", "ID": "7587"})
    same(both, "/v3/kv/put", {"key": "bA==", "lease": 7587})
    for path in ("/v3/lease/timetolive", "/v3/kv/lease/timetolive"):
        ours, theirs = (post(m, path, {"ID": 7587, "keys": True})[1] for m in both)
        assert ours["keys"] == theirs["keys"] == ["bA=="]
        assert ours["grantedTTL"] == theirs["grantedTTL"] == "60"
    same(both, "/v3/lease/leases", {})
    for member in both:
        connection = http.client.HTTPConnection("127.0.0.1", member.port, timeout=60)
        connection.request("POST", "/v3/lease/keepalive", '{"ID":7587}{"ID":1}')
        lines = connection.getresponse().read().splitlines()
        assert [json.loads(line)["result"].get("TTL") for line in lines] == ["60", None]
    same(both, "/v3/lease/revoke", {"ID": 7587})
    same(both, "/v3/kv/lease/revoke", {"ID": 7587})
    same(both, "/v3/lease/keepalive", "{bad")


def test_cluster_and_maintenance(martlet, etcd):
    ours, theirs = (post(m, "/v3/cluster/member/list", {})[1] for m in (martlet, etcd))
    assert [set(m) for m in ours["members"]] == [set(m) for m in theirs["members"]]
    status = post(martlet, "/v3/maintenance/status", {})[1]
    assert status["leader"] == status["header"]["member_id"] and int(status["dbSize"]) > 0
    # As etcd from 3.5 on: 3.4 leaves the header out.
    assert "alarms" not in post(martlet, "/v3/maintenance/alarm", {"action": "GET"})[1]
    assert post(martlet, "/v3/maintenance/hash", {})[1]["hash"] > 0
    connection = http.client.HTTPConnection("127.0.0.1", martlet.port, timeout=60)
    connection.request("POST", "/v3/maintenance/snapshot", "{}")
    lines = connection.getresponse().read().splitlines()
    assert len(lines) >= 2 and all("blob" in json.loads(line)["result"] for line in lines)


def test_lock_and_election_without_waiting(both):
    same(both, "/v3/lease/grant", {"TTL": 60, "ID": 101})
    same(both, "/v3/lock/lock", {"name": "TA==", "lease": 101})
    same(both, "/v3/lock/lock", {"name": "TA==", "lease": 101})
    same(both, "/v3/lock/unlock", {"key": "TC82NQ=="})
    same(both, "/v3/lock/unlock", {})
    same(both, "/v3/lock/lock", {"name": "TA==", "lease": 12345})
    same(both, "/v3/election/leader", {"name": "ZQ=="})
    won = same(both, "/v3/election/campaign", {"name": "ZQ==", "lease": 101, "value": "djE="})[1]
    same(both, "/v3/election/campaign", {"name": "ZQ==", "lease": 101, "value": "djI="})
    same(both, "/v3/election/proclaim", {"leader": won["leader"], "value": "djM="})
    same(both, "/v3/election/leader", {"name": "ZQ=="})
    same(both, "/v3/election/resign", {"leader": won["leader"]})
    same(both, "/v3/election/proclaim", {"leader": won["leader"], "value": "djM="})
    same(both, "/v3/election/resign", {})


def test_bombs(martlet):
    size = 2_500_000
    for body in ("[" * size, '{"a":' * (size // 5), '{"limit":' + "9" * size + "}",
                 '{"x":' + "[" * 200_000, b'{"key":"' + b"\xff" * size + b'"}'):
        status, answer = post(martlet, "/v3/kv/range", body)
        assert status == 400 and len(answer["error"]) < 300
    assert post(martlet, "/v3/kv/put", {"key": "AAAA", "value": "A" * 4_000_000})[0] == 413
    status, answer = post(martlet, "/v3/kv/put", {"key": "AAAA", "value": "A" * 2_400_000})
    assert (status, answer["error"]) == (400, "etcdserver: request is too large")
    assert post(martlet, "/v3/kv/put", {"key": "AAAA", "value": "A" * 1_400_000})[0] == 200
    assert martlet.resident_bytes() < 600 << 20


def test_flags():
    flags = ["--cors=http://a.b:80", "--host-whitelist=good.com,127.0.0.1"]
    with harness.Member("martlet", flags) as member:
        def ask(headers, method="GET"):
            connection = http.client.HTTPConnection("127.0.0.1", member.port, timeout=60)
            connection.request(method, "/version", headers=headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.getheader("Access-Control-Allow-Origin")
        assert ask({}) == (200, None)
        assert ask({"Host": "localhost"}) == (421, None)
        assert ask({"Host": "evil.com"}, "OPTIONS") == (421, None)
        assert ask({"Host": "good.com:99"}) == (200, None)
        assert ask({"Host": "good.com", "Origin": "http://a.b"}) == (200, None)
        assert ask({"Host": "good.com", "Origin": "http://a.b:80"}) == (200, "http://a.b:80")
    with harness.Member("martlet", ["--enable-grpc-gateway=false"]) as member:
        assert post(member, "/v3/kv/range", {"key": "AA=="})[0] in (404, 405)


def test_watch(both):
    """History and new events as lines; the stream outlives the request's body."""
    lines = []
    for member in both:
        post(member, "/v3/kv/put", {"key": "dw==", "value": "MQ=="})
        connection = http.client.HTTPConnection("127.0.0.1", member.port, timeout=60)
        connection.request(
            "POST", "/v3/watch", '{"create_request":{"key":"dw==","start_revision":1}}')
        answer = connection.getresponse()
        mine = [answer.readline(), answer.readline()]
        post(member, "/v3/kv/put", {"key": "dw==", "value": "Mg=="})
        mine.append(answer.readline())
        connection.close()
        lines.append([plain(json.loads(line)["result"]) for line in mine])
    assert lines[0] == lines[1]
    assert len(lines[0][2]["events"]) == 1


def test_watch_cancel_and_faults(both):
    lines = []
    for member in both:
        connection = http.client.HTTPConnection("127.0.0.1", member.port, timeout=60)
        connection.request(
            "POST", "/v3/watch", '{"create_request":{"key":"dw=="}} {"cancel_request":{}}')
        answer = connection.getresponse()
        lines.append([plain(json.loads(answer.readline())) for _ in range(2)])
        connection.close()
    assert lines[0] == lines[1]
    same(both, "/v3/watch", "{bad")


# Requests whose bodies stay open: chunks of one, as over HTTP/1.1, and DATA of one over HTTP/2.


def url_of(member):
    return member.endpoint if "://" in member.endpoint else f"http://{member.endpoint}"


class OpenRequest:
    """A request by curl, whose body is what it is given bit by bit; the answer's lines as they come."""

    def __init__(self, member, path, *flags):
        self.process = subprocess.Popen(
            ["curl", "-sSN", "-X", "POST", "-T", ".", *flags, f"{url_of(member)}{path}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def say(self, text):
        self.process.stdin.write(text if isinstance(text, bytes) else text.encode())
        self.process.stdin.flush()

    def hear(self):
        line = self.process.stdout.readline()
        assert line, "the answer has ended"
        answer = json.loads(line)
        return plain(answer["result"]) if "result" in answer else answer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.stdout.close()


VERSIONS = ["--http1.1", "--http2-prior-knowledge"]


def each(both, version):
    """etcd speaks HTTP/2 without TLS to gRPC only."""
    return [member for member in both if member.kind == "martlet" or version == "--http1.1"]


@pytest.mark.parametrize("version", VERSIONS)
def test_watch_with_an_open_body(both, version):
    """Watches are made and cancelled one after the other, while events are read."""
    conversations = []
    for member in each(both, version):
        with OpenRequest(member, "/v3/watch", version) as watch:
            heard = []
            watch.say('{"create_request":{"key":"dw=="}}')
            heard.append(watch.hear())
            post(member, "/v3/kv/put", {"key": "dw==", "value": "MQ=="})
            heard.append(watch.hear())
            # A message in two halves, then two at once.
            watch.say('\n{"create_request":{"key":')
            post(member, "/v3/kv/put", {"key": "dw==", "value": "Mg=="})
            heard.append(watch.hear())
            watch.say('"eA==","start_revision":"1"}}')
            heard.append(watch.hear())
            watch.say('{"create_request":{"key":"eQ=="}}\n {"cancel_request":{}}')
            heard += [watch.hear(), watch.hear()]
            post(member, "/v3/kv/put", {"key": "dw==", "value": "not watched"})
            post(member, "/v3/kv/put", {"key": "eA==", "value": "eA=="})
            heard.append(watch.hear())
            conversations.append(heard)
    assert [bool(answer.get("created")) for answer in conversations[0]] == [
        True, False, False, True, True, False, False]
    assert conversations[0][5]["canceled"] is True
    assert conversations[0][6]["events"][0]["kv"]["key"] == "eA=="
    assert conversations[0] == conversations[-1]


@pytest.mark.parametrize("version", VERSIONS)
def test_keep_alive_with_an_open_body(both, version):
    for member in each(both, version):
        post(member, "/v3/lease/grant", {"TTL": 600, "ID": 7})
        with OpenRequest(member, "/v3/lease/keepalive", version) as keeping:
            for _ in range(3):
                keeping.say('{"ID":7}\n')
                answer = keeping.hear()
                assert (answer["ID"], answer["TTL"]) == ("7", "600")
            keeping.say('{"ID":8}')
            assert "TTL" not in keeping.hear()
            # With the end of the request comes that of the answer.
            keeping.process.stdin.close()
            assert keeping.process.stdout.readline() == b""
            assert keeping.process.wait(60) == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_open_bodies_that_go_on_for_ever(martlet, version):
    """What is sent faster than it is taken waits at the client; a message without an end is refused."""
    post(martlet, "/v3/lease/grant", {"TTL": 600, "ID": 7})
    before = martlet.resident_bytes()
    with OpenRequest(martlet, "/v3/lease/keepalive", version) as keeping:
        keeping.say('{"ID":7}')
        keeping.hear()

        def flood():
            # Nobody reads the answers, so this is held up, or the connection is closed.
            with contextlib.suppress(OSError, ValueError):
                for _ in range(500):
                    keeping.say(b'{"ID":7}' * 20_000)

        thread = threading.Thread(target=flood)
        thread.start()
        thread.join(1)
        for _ in range(10):
            post(martlet, "/v3/kv/put", {"key": "eA==", "value": "eA=="})
        assert martlet.resident_bytes() - before < 200 << 20
        keeping.process.kill()
        thread.join()
    for start in ('{"ID":"', "[" * 100):
        with OpenRequest(martlet, "/v3/lease/keepalive", version) as endless:
            with contextlib.suppress(OSError):
                endless.say(start)
                for _ in range(80):
                    endless.say(b"1" * 100_000)
            # curl says nothing of an answer that comes before its HTTP/2 request has ended.
            answer = endless.process.stdout.read()
            assert b"too large" in answer or version != "--http1.1"
            assert endless.process.wait(60) != 0 or b"too large" in answer
    assert martlet.resident_bytes() - before < 200 << 20
    assert post(martlet, "/v3/lease/revoke", {"ID": 7})[0] == 200


def test_open_bodies_that_say_nothing(martlet):
    """Others are served beside requests whose bodies never come; they end with their connections."""
    waiting = []
    for number in range(300):
        connection = socket.create_connection(("127.0.0.1", martlet.port), timeout=60)
        connection.sendall(b"POST /v3/watch HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                           + (b"", b"1\r\n{\r\n", b"40\r\n{")[number % 3])
        waiting.append(connection)
    for _ in range(20):
        assert post(martlet, "/v3/kv/put", {"key": "eA==", "value": "eA=="})[0] == 200
    for connection in waiting:
        connection.close()
    assert post(martlet, "/v3/kv/range", {"key": "eA=="})[1]["count"] == "1"
