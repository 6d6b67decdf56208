"""The JSON gateway over https, with a client's certificate, and with auth on. Debian's etcd is asked
first; curl asks the basic things, as people do.
"""

import base64
import http.client
import json
import ssl
import subprocess

import pytest

from harness import etcdctl
from semantics import wait_until
from test_etcdctl_tls import MODES, SecureServer, files  # noqa: F401
from test_gateway import OpenRequest
from test_semantics_auth import make_keys

KINDS = ["etcd", "martlet"]
SECONDS = 60


def b64(text) -> str:
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


@pytest.fixture(scope="module", params=[(kind, mode) for kind in KINDS for mode in MODES],
                ids="-".join)
def server(request, stubs, files):  # noqa: F811
    with SecureServer(request.param[0], files, request.param[1]) as running:
        running.is_mutual = request.param[1] == "mutual"
        yield running


def connect(server):
    context = ssl.create_default_context(cafile=server.files.ca.certificate)
    if server.client:
        context.load_cert_chain(*server.client)
    return http.client.HTTPSConnection("127.0.0.1", server.port, timeout=SECONDS, context=context)


def ask(server, path, body, headers=None):
    connection = connect(server)
    connection.request("POST", path, json.dumps(body), headers or {})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, text


def post(server, path, body, headers=None):
    status, text = ask(server, path, body, headers)
    return status, json.loads(text)


def curl(server, path, body, *flags, version="--http1.1"):
    """Status, body and version of HTTP, as curl sees them."""
    pair = ["--cert", server.client[0], "--key", server.client[1]] if server.client else []
    done = subprocess.run(
        ["curl", "-sS", version, "--cacert", server.files.ca.certificate, *pair, *flags, "-w",
         "\n%{http_version} %{http_code}", "-d", json.dumps(body), f"{server.endpoint}{path}"],
        capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    text, result = done.stdout.rsplit("\n", 1)
    used, status = result.split()
    return int(status), json.loads(text), used


@pytest.mark.parametrize("version, name", [("--http1.1", "1.1"), ("--http2", "2")])
def test_curl(server, key, version, name):
    k = b64(key)
    assert curl(server, "/v3/kv/put", {"key": k, "value": b64("v")},
                version=version)[::2] == (200, name)
    status, answer, _ = curl(server, "/v3/kv/range", {"key": k}, version=version)
    assert status == 200 and answer["count"] == "1"
    (kv,) = answer["kvs"]
    assert (kv["key"], kv["value"], kv["version"]) == (k, b64("v"), "1")
    lease = curl(server, "/v3/lease/grant", {"TTL": 600}, version=version)[1]["ID"]
    assert curl(server, "/v3/kv/put", {"key": k, "lease": lease}, version=version)[0] == 200
    status, answer, _ = curl(server, "/v3/kv/txn", {
        "compare": [{"key": k, "target": "LEASE", "result": "EQUAL", "lease": lease}],
        "success": [{"requestDeleteRange": {"key": k}}]}, version=version)
    assert answer["succeeded"] is True and status == 200
    assert answer["responses"][0]["response_delete_range"]["deleted"] == "1"
    status, answer, _ = curl(server, "/v3/kv/range", {}, version=version)
    assert (status, answer["error"]) == (400, "etcdserver: key is not provided")


def test_who_has_no_certificate_is_not_served(server, files):  # noqa: F811
    done = subprocess.run(
        ["curl", "-sS", "--cacert", files.ca.certificate, "-d", "{}",
         f"{server.endpoint}/v3/cluster/member/list"],
        capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode != 0) == server.is_mutual, done


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_watch(server, key, version):
    """History and what comes after it, line by line, over either version of HTTP."""
    put = server.put(key, b"1")
    pair = ["--cert", server.client[0], "--key", server.client[1]] if server.client else []
    with subprocess.Popen(
            ["curl", "-sSN", version, "--cacert", server.files.ca.certificate, *pair, "-d",
             json.dumps({"create_request": {"key": b64(key),
                                            "start_revision": put.header.revision}}),
             f"{server.endpoint}/v3/watch"], stdout=subprocess.PIPE, text=True) as watching:
        try:
            assert json.loads(watching.stdout.readline())["result"]["created"] is True
            (event,) = json.loads(watching.stdout.readline())["result"]["events"]
            assert event["kv"]["value"] == b64("1")
            server.delete(key)
            (event,) = json.loads(watching.stdout.readline())["result"]["events"]
            assert event["type"] == "DELETE" and event["kv"]["key"] == b64(key)
        finally:
            watching.kill()


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_watch_with_an_open_body(server, key, version):
    pair = ["--cert", server.client[0], "--key", server.client[1]] if server.client else []
    with OpenRequest(server, "/v3/watch", version, "--cacert", server.files.ca.certificate,
                     *pair) as watch:
        watch.say(json.dumps({"create_request": {"key": b64(key)}}))
        assert watch.hear()["created"] is True
        server.put(key, b"1")
        assert watch.hear()["events"][0]["kv"]["value"] == b64("1")
        watch.say(json.dumps({"cancel_request": {}}))
        assert watch.hear()["canceled"] is True


def set_up_auth(running):
    """root, and bob and alice who may read and write `a`; alice is who the certificate names."""
    requests = [("user/add", {"name": name, "password": "pw"}) for name in ("root", "bob", "alice")]
    requests += [("role/add", {"name": "r"}), ("role/grant", {
        "name": "r", "perm": {"permType": "READWRITE", "key": b64("a")}})]
    requests += [("user/grant", {"user": user, "role": role})
                 for user, role in (("root", "root"), ("bob", "r"), ("alice", "r"))]
    for path, body in [*requests, ("enable", {})]:
        assert post(running, f"/v3/auth/{path}", body)[0] == 200, path


def token_of(running, name):
    status, answer = post(running, "/v3/auth/authenticate", {"name": name, "password": "pw"})
    assert status == 200 and answer["token"]
    return answer["token"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_auth(stubs, files, kind, mode):  # noqa: F811
    """A token in Authorization or in Grpc-Metadata-Token. The certificate's name is nobody's here."""
    with SecureServer(kind, files, mode) as running:
        set_up_auth(running)
        if mode == "mutual":
            # alice's certificate says who she is over gRPC, and not over the gateway. (etcd even
            # refuses whoever has a name in their certificate, with a token or without.)
            status, text = ask(running, "/v3/kv/range", {"key": b64("a")})
            assert status == 400 and (
                b"user name is empty" if kind == "martlet"
                else b"CommonName of client sending a request against gateway") in text
            assert etcdctl(running, "put", "a", "v").stdout == "OK\n"
            running.client = files.ca.issue("nameless", common_name="")
        get = lambda key, headers=None: post(running, "/v3/kv/range", {"key": b64(key)}, headers)
        status, answer = get("a")
        # To etcd it is the server's own certificate that asks then, and names no user.
        assert (status, answer["error"]) == (
            (403, "etcdserver: permission denied") if running.client and kind == "etcd"
            else (400, "etcdserver: user name is empty"))
        token = token_of(running, "bob")
        for name in ("Authorization", "authorization", "Grpc-Metadata-Token",
                     "Grpc-Metadata-Authorization"):
            assert get("a", {name: token})[0] == 200, name
            status, answer = get("b", {name: token})
            assert (status, answer["error"], answer["code"]) == (
                403, "etcdserver: permission denied", 7), name
            # Forged ones: nearly right, of another shape, and nothing.
            for forged in (chr(ord(token[0]) ^ 1) + token[1:], token.split(".")[0] + ".0",
                           "nonsense", "a.b.c", "x" * 4000):
                status, answer = get("a", {name: forged})
                assert (status, answer["error"], answer["code"]) == (
                    401, "etcdserver: invalid auth token", 16), (name, forged)
        assert post(running, "/v3/auth/user/list", {}, {"Authorization": token})[0] == 403
        status, answer = post(running, "/v3/auth/user/list", {},
                              {"Authorization": token_of(running, "root")})
        assert status == 200 and sorted(answer["users"]) == ["alice", "bob", "root"]
        for body in ({"name": "bob", "password": "wrong"}, {"name": "nobody", "password": "pw"},
                     {}):
            status, answer = post(running, "/v3/auth/authenticate", body)
            assert status == 400 and answer["error"].startswith("etcdserver: "), answer
        # What a stream may: `a` may be watched, `b` not.
        for watched, refused in (("a", False), ("b", True)):
            connection = connect(running)
            connection.request("POST", "/v3/watch", json.dumps(
                {"create_request": {"key": b64(watched)}}), {"Authorization": token})
            first = json.loads(connection.getresponse().readline())["result"]
            assert bool(first.get("canceled")) == refused, first
            connection.close()


@pytest.mark.parametrize("kind", KINDS)
def test_expired_tokens(stubs, files, tmp_path, kind):  # noqa: F811
    running = SecureServer(kind, files, "tls")
    running.flags.append(f"--auth-token={make_keys(tmp_path, 'ES256')},ttl=2s")
    with running:
        set_up_auth(running)
        headers = {"Authorization": token_of(running, "root")}

        def refused():
            status, answer = post(running, "/v3/kv/range", {"key": b64("a")}, headers)
            assert status == 200 or (status, answer["error"], answer["code"]) == (
                401, "etcdserver: invalid auth token", 16)
            return status != 200

        wait_until(refused, "the token expires")
        headers = {"Authorization": token_of(running, "root")}
        forged = headers["Authorization"].rsplit(".", 1)[0] + "."
        assert post(running, "/v3/kv/range", {"key": b64("a")}, {"Authorization": forged})[0] == 401
