"""TLS: the clients of this world against a member with TLS, and refusals as etcd's."""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time

import grpc
import pytest

from certificates import Authority, openssl, put_in_place
from harness import Member, etcdctl, free_port

KINDS = ["martlet", "etcd"]
# The member looks at its files once a second; a busy machine may take longer to get to it.
RELOAD_SECONDS = 60
HANDSHAKE_SECONDS = 10
# TLS without a look at the server's certificate; etcdctl has no TLS without the first.
INSECURE = ["--insecure-transport=false", "--insecure-skip-tls-verify"]


class TLSMember(Member):
    """A member whose client address has TLS; `client` is the certificate that its own checks show."""

    def __init__(self, kind, files, flags=(), client=None, data_dir=None, certificate=None):
        super().__init__(kind, data_dir=data_dir)
        self.files = files
        self.client = client
        url = f"https://127.0.0.1:{self.port}"
        self.flags = [f"--listen-client-urls={url}", f"--advertise-client-urls={url}", *flags]
        if certificate is None:
            certificate = files.server
        if certificate:
            self.flags += [f"--cert-file={certificate[0]}", f"--key-file={certificate[1]}"]

    @property
    def endpoint(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def context(self, client=None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.files.ca.certificate)
        client = client or self.client
        if client:
            context.load_cert_chain(*client)
        return context

    def connect(self, context=None, session=None, timeout=60) -> ssl.SSLSocket:
        context = context or self.context()
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=timeout)
        return context.wrap_socket(plain, server_hostname="127.0.0.1", session=session)

    def get(self, path, client=None, context=None) -> bytes:
        """The answer to one request over HTTP/1.1; nothing when there is none."""
        try:
            with self.connect(context or self.context(client)) as connection:
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
                                   .encode())
                return b"".join(iter(lambda: connection.recv(65536), b""))
        except OSError:
            return b""

    def is_healthy(self) -> bool:
        return b'"health":"true"' in self.get("/health")

    def serial(self) -> int:
        with self.connect() as connection:
            return int(connection.getpeercert()["serialNumber"], 16)

    def ctl(self, *arguments, client=None, **options):
        flags = [f"--cacert={self.files.ca.certificate}"]
        client = client or self.client
        if client:
            flags += [f"--cert={client[0]}", f"--key={client[1]}"]
        return etcdctl(self, *flags, *arguments, **options)


class Files:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.ca = Authority(folder)
        self.server = self.ca.issue("server")
        self.alice = self.ca.issue("alice", san="DNS:alice.example.com")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def own_files(tmp_path):
    """For tests that replace files."""
    return Files(tmp_path)


def mutual(files) -> list[str]:
    return ["--client-cert-auth", f"--trusted-ca-file={files.ca.certificate}"]


@pytest.fixture(scope="module", params=[(kind, is_mutual) for kind in KINDS
                                        for is_mutual in (False, True)],
                ids=["martlet", "martlet-mutual", "etcd", "etcd-mutual"])
def member(request, files):
    kind, is_mutual = request.param
    flags, client = (mutual(files), files.alice) if is_mutual else ([], None)
    with TLSMember(kind, files, flags, client) as running:
        running.is_mutual = is_mutual
        yield running


def test_etcdctl(member, tmp_path):
    """The main commands."""
    assert member.ctl("put", "k1", "v1").stdout == "OK\n"
    for number in range(5):
        member.ctl("put", f"p/{number}", "x" * 1000)
    assert member.ctl("get", "k1").stdout == "k1\nv1\n"
    assert len(member.ctl("get", "p/", "--prefix", "--keys-only").stdout.split()) == 5
    assert member.ctl("del", "p/4").stdout == "1\n"
    done = member.ctl("txn", stdin='value("k1") = "v1"\n\nput k1 v2\n\nget k1\n\n')
    assert done.stdout.startswith("SUCCESS"), done.stdout
    big = "b" * 1_000_000
    assert member.ctl("put", "big", stdin=big).stdout == "OK\n"
    assert member.ctl("get", "big", "--print-value-only").stdout.strip() == big
    members = json.loads(member.ctl("member", "list", "-w", "json").stdout)
    assert members["members"][0]["clientURLs"] == [f"https://127.0.0.1:{member.port}"]
    assert "is healthy" in member.ctl("endpoint", "health").stderr \
        + member.ctl("endpoint", "health").stdout
    status = json.loads(member.ctl("endpoint", "status", "-w", "json").stdout)
    revision = status[0]["Status"]["header"]["revision"]
    assert "compacted" in member.ctl("compaction", str(revision)).stdout
    member.ctl("snapshot", "save", f"{tmp_path}/snapshot.db")
    assert os.path.getsize(f"{tmp_path}/snapshot.db") > 1_000_000


def test_etcdctl_that_does_not_trust_the_server(member):
    client = [f"--cert={member.client[0]}", f"--key={member.client[1]}"] if member.client else []
    flags = [*client, "--command-timeout=1s"]
    assert etcdctl(member, *flags, "get", "k", check=False).returncode != 0
    done = etcdctl(member, *flags, *INSECURE, "put", "k", "v")
    assert done.stdout == "OK\n"


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_curl(member, version):
    client = ["--cert", member.client[0], "--key", member.client[1]] if member.client else []
    for host in ["127.0.0.1", "localhost"]:
        done = subprocess.run(
            ["curl", "-sS", version, "--cacert", member.files.ca.certificate, *client, "-w",
             "\n%{http_version} %{http_code}", f"https://{host}:{member.port}/health"],
            capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        body, result = done.stdout.rsplit("\n", 1)
        assert json.loads(body)["health"] == "true"
        assert result == ("1.1 200" if version == "--http1.1" else "2 200")


def channel(member, client=None):
    read = lambda path: pathlib.Path(path).read_bytes()
    client = client or member.client
    pair = {"certificate_chain": read(client[0]), "private_key": read(client[1])} if client else {}
    credentials = grpc.ssl_channel_credentials(read(member.files.ca.certificate), **pair)
    return grpc.secure_channel(f"localhost:{member.port}", credentials)


def test_python(member, stubs):
    import rpc_pb2
    import rpc_pb2_grpc as rpc_grpc
    with channel(member) as open_channel:
        kv = rpc_grpc.KVStub(open_channel)
        kv.Put(rpc_pb2.PutRequest(key=b"python", value=b"v" * 100_000), timeout=60)
        answers = [kv.Range.future(rpc_pb2.RangeRequest(key=b"python"), timeout=20)
                   for _ in range(100)]
        assert all(answer.result().kvs[0].value == b"v" * 100_000 for answer in answers)
    if member.is_mutual:
        credentials = grpc.ssl_channel_credentials(
            pathlib.Path(member.files.ca.certificate).read_bytes())
        with grpc.secure_channel(f"localhost:{member.port}", credentials) as anonymous:
            with pytest.raises(grpc.RpcError) as failure:
                rpc_grpc.KVStub(anonymous).Range(rpc_pb2.RangeRequest(key=b"k"), timeout=5)
            assert failure.value.code() == grpc.StatusCode.UNAVAILABLE


def test_sessions_are_resumed_and_still_checked(member):
    """A client may bring back what it agreed upon before; it is served as if it were new."""
    for version in [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]:
        context = member.context()
        context.maximum_version = version
        session = None
        for _ in range(3):
            with member.connect(context, session) as connection:
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                answer = b"".join(iter(lambda: connection.recv(65536), b""))
                assert b'"health":"true"' in answer
                session = connection.session


def is_served(member, client) -> bool:
    """By gRPC and by plain HTTP alike."""
    rest = [f"--cacert={member.files.ca.certificate}", "--command-timeout=2s"]
    if client:
        rest += [f"--cert={client[0]}", f"--key={client[1]}"]
    by_grpc = etcdctl(member, *rest, "get", "k", check=False).returncode == 0
    context = ssl.create_default_context(cafile=member.files.ca.certificate)
    if client:
        context.load_cert_chain(*client)
    by_http = b"200 OK" in member.get("/health", context=context)
    assert by_grpc == by_http, (member.kind, client)
    return by_grpc


@pytest.mark.parametrize("kind", KINDS)
def test_who_is_let_in(kind, files, tmp_path):
    """With each set of flags the same clients are served by both."""
    ca = files.ca
    clients = {
        "none": None,
        "alice": files.alice,
        "stranger": Authority(tmp_path, "other").issue("stranger"),
        "expired": ca.issue("expired", days=-1),
        "server only": ca.issue("serveronly", usage="serverAuth"),
        "elsewhere": ca.issue("elsewhere", san="IP:10.9.8.7"),
        "wildcard": ca.issue("wildcard", san="DNS:*.example.com"),
        "revoked": ca.issue("revoked"),
    }
    revoked = ca.revoke("revoked")
    good = {"alice", "elsewhere", "wildcard"}
    trusted = f"--trusted-ca-file={ca.certificate}"
    cases = [
        ([], {"none", *clients}),
        ([trusted], {*good, "revoked"}),
        (["--client-cert-auth", trusted], {*good, "revoked"}),
        (["--client-cert-auth", trusted, f"--client-crl-file={revoked}"], good),
        ([trusted, "--client-cert-allowed-hostname=alice.example.com"], {"alice", "wildcard"}),
    ]
    for flags, expected in cases:
        with TLSMember(kind, files, flags, files.alice) as running:
            with concurrent.futures.ThreadPoolExecutor(len(clients)) as pool:
                answers = pool.map(lambda client: is_served(running, client), clients.values())
            served = {name for name, answer in zip(clients, answers) if answer}
            assert served == expected, (kind, flags, running.log()[-3000:])


@pytest.mark.parametrize("der", [False, True])
def test_a_certificate_is_revoked_while_running(own_files, der):
    ca = own_files.ca
    bob = ca.issue("bob")
    crl = ca.revoke(der=der)
    with TLSMember("martlet", own_files, [*mutual(own_files), f"--client-crl-file={crl}"],
                   own_files.alice) as running:
        assert is_served(running, bob)
        ca.revoke("bob", der=der)
        eventually(lambda: not running.get("/health", bob))
        assert not is_served(running, bob)
        assert is_served(running, own_files.alice)
        assert "is revoked" in running.log()
        # A list that cannot be read changes nothing.
        pathlib.Path(crl).write_text("nonsense")
        eventually(lambda: "no good" in running.log())
        assert not is_served(running, bob) and is_served(running, own_files.alice)


def eventually(holds, seconds=RELOAD_SECONDS):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_certificates_are_replaced_while_running(kind, own_files):
    """New connections get the new certificate, old ones go on, and a client that works meanwhile
    notices nothing."""
    files = own_files
    used = tuple(str(files.folder / name) for name in ("used.pem", "used.key"))
    for source, target in zip(files.server, used):
        put_in_place(source, target)
    with TLSMember(kind, files, certificate=used) as running:
        first = running.serial()
        old = running.connect()
        next_pair = files.ca.issue("next")
        put_in_place(next_pair[0], used[0])
        put_in_place(next_pair[1], used[1])
        eventually(lambda: running.serial() != first)
        second = running.serial()
        old.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert b"200 OK" in old.recv(65536)
        old.close()
        if kind == "etcd":
            # It reads the files at every handshake, and fails those that find them half replaced.
            return
        put_in_place(files.server[0], used[0])
        eventually(lambda: "does not match" in running.log())
        assert running.serial() == second, "half a replacement"
        time.sleep(2.5)
        assert running.log().count("does not match") == 1, running.log()
        put_in_place(files.server[1], used[1])
        eventually(lambda: running.serial() == first)
        pathlib.Path(used[0]).write_text("nonsense")
        eventually(lambda: "no usable certificate" in running.log())
        assert running.serial() == first


def test_a_new_authority_counts_without_a_restart(own_files, tmp_path):
    trusted = str(own_files.folder / "trusted.pem")
    put_in_place(own_files.ca.certificate, trusted)
    other = Authority(tmp_path, "other")
    carol = other.issue("carol")
    with TLSMember("martlet", own_files, ["--client-cert-auth", f"--trusted-ca-file={trusted}"],
                   own_files.alice) as running:
        assert not is_served(running, carol)
        both = own_files.folder / "both.pem"
        both.write_bytes(pathlib.Path(own_files.ca.certificate).read_bytes()
                         + pathlib.Path(other.certificate).read_bytes())
        put_in_place(str(both), trusted)
        eventually(lambda: running.get("/health", carol))
        assert is_served(running, carol)
        assert is_served(running, own_files.alice)


@pytest.mark.parametrize("kind", KINDS)
def test_auto_tls(kind, files, tmp_path):
    """A certificate of its own, kept with the data."""
    running = TLSMember(kind, files, ["--auto-tls"], data_dir=str(tmp_path), certificate=())
    made = tmp_path / "data" / "fixtures" / "client"

    def healthy():
        insecure = ssl.create_default_context()
        insecure.check_hostname, insecure.verify_mode = False, ssl.CERT_NONE
        return b'"health":"true"' in running.get("/health", context=insecure)

    running.is_healthy = healthy
    with running:
        etcdctl(running, *INSECURE, "put", "k", "v")
        assert (made / "key.pem").stat().st_mode & 0o777 == 0o600
        text = openssl("x509", "-in", str(made / "cert.pem"), "-noout", "-text", cwd=tmp_path)
        assert "IP Address:127.0.0.1" in text
        first = (made / "cert.pem").read_bytes()
        running.stop()
        running.start()
        assert (made / "cert.pem").read_bytes() == first, "made once"
        # What was made can be verified by who has it.
        if kind == "martlet":
            context = ssl.create_default_context(cafile=str(made / "cert.pem"))
            assert b"200 OK" in running.get("/health", context=context)
        running.stop()
    if kind == "martlet":
        expired = Authority(tmp_path, "old").issue("expired", days=-1)
        shutil.copy(expired[0], made / "cert.pem")
        shutil.copy(expired[1], made / "key.pem")
        with running:
            assert (made / "cert.pem").read_bytes() not in (first, pathlib.Path(
                expired[0]).read_bytes())


@pytest.mark.parametrize("kind", KINDS)
def test_plain_and_tls_on_one_port(kind, files):
    member = TLSMember(kind, files)
    plain = f"http://127.0.0.1:{member.port}"
    member.flags[0] += f",{plain}"
    with member:
        member.ctl("put", "k", "v")
        if kind == "martlet":  # etcd 3.4 asks gRPC for TLS even so
            assert etcdctl(member, "get", "k", "--print-value-only",
                           endpoint=plain).stdout == "v\n"
        done = subprocess.run(["curl", "-sS", f"{plain}/health"], capture_output=True, text=True)
        assert '"health":"true"' in done.stdout, done


@pytest.mark.parametrize("kind", KINDS)
def test_metrics_addresses(kind, files):
    """Metrics and health checks, plain or with TLS, and nothing else."""
    ports = [free_port(), free_port()]
    urls = f"http://127.0.0.1:{ports[0]},https://127.0.0.1:{ports[1]}"
    with TLSMember(kind, files, [f"--listen-metrics-urls={urls}"]) as running:
        for scheme, port in zip(["http", "https"], ports):
            def get(path, *flags):
                return subprocess.run(
                    ["curl", "-sS", "--cacert", files.ca.certificate, "-w", "\n%{http_code}",
                     *flags, f"{scheme}://127.0.0.1:{port}{path}"],
                    capture_output=True, text=True, timeout=30).stdout
            assert "etcd_server_has_leader 1" in get("/metrics")
            assert '"health":"true"' in get("/health")
            assert get("/v3/kv/range", "-d", "{}").rsplit("\n", 1)[1] in ("404", "405")
        done = etcdctl(running, "--command-timeout=1s", "get", "k", check=False,
                       endpoint=f"http://127.0.0.1:{ports[0]}")
        assert done.returncode != 0


def test_http_has_addresses_of_its_own(files, stubs):
    """--listen-client-http-urls: plain HTTP there, and only gRPC on the others."""
    port = free_port()
    running = TLSMember("martlet", files, [f"--listen-client-http-urls=http://127.0.0.1:{port}"])
    running.is_healthy = lambda: b"200" in plain_get(port, "/health")
    with running:
        running.ctl("put", "k", "v")
        assert b"404" in running.get("/health").split(b"\r\n")[0]
        done = etcdctl(running, "--command-timeout=1s", "get", "k", check=False,
                       endpoint=f"http://127.0.0.1:{port}")
        assert done.returncode != 0
        import rpc_pb2
        import rpc_pb2_grpc as rpc_grpc
        with grpc.insecure_channel(f"127.0.0.1:{port}") as open_channel:
            with pytest.raises(grpc.RpcError) as failure:
                rpc_grpc.KVStub(open_channel).Range(rpc_pb2.RangeRequest(key=b"k"), timeout=5)
            assert failure.value.code() == grpc.StatusCode.UNIMPLEMENTED


def plain_get(port, path) -> bytes:
    with contextlib.suppress(OSError):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
                               .encode())
            return b"".join(iter(lambda: connection.recv(65536), b""))
    return b""


def test_unix_sockets(files, tmp_path):
    """unix:// and unixs://"""
    running = TLSMember("martlet", files)
    running.flags[0] += f",unix://{tmp_path}/plain,unixs://{tmp_path}/tls"
    with running:
        for path, url in [("plain", "http://localhost"), ("tls", "https://localhost")]:
            done = subprocess.run(
                ["curl", "-sS", "--cacert", files.ca.certificate, "--unix-socket",
                 f"{tmp_path}/{path}", f"{url}/health"], capture_output=True, text=True)
            assert '"health":"true"' in done.stdout, (path, done)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", [
    ["--cert-file=/does/not/exist", "--key-file=/does/not/exist"], ["--key-file="],
    ["--cipher-suites=NOPE"], ["--trusted-ca-file=/does/not/exist"], ["ANOTHER-KEY"],
    ["--cert-file=", "--key-file="],
])
def test_what_cannot_be_served_is_refused_at_the_start(kind, change, files):
    change = [f"--key-file={files.alice[1]}" if flag == "ANOTHER-KEY" else flag for flag in change]
    running = TLSMember(kind, files)
    running.flags += change
    try:
        running.start(wait=False)
        assert running.process.wait(30) != 0
        assert not re.search(r"Fatal error|panic:", running.log()), running.log()
    finally:
        running.close()


def client_hello() -> bytes:
    """The first bytes of a handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="a")
    with contextlib.suppress(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


def test_stalled_handshakes(files):
    """Clients that begin a handshake and say no more are cut off; others are served meanwhile."""
    hello = client_hello()
    with TLSMember("martlet", files, mutual(files), files.alice) as running:
        before = running.resident_bytes()
        start = time.monotonic()
        stalled = []
        for number in range(300):
            connection = socket.create_connection(("127.0.0.1", running.port), timeout=60)
            connection.sendall([b"", hello[:1], hello[:100], hello][number % 4])
            stalled.append(connection)
        for number in range(5):
            running.ctl("put", "k", str(number))
        grown = running.resident_bytes() - before
        assert grown < 300 * 256 * 1024, f"{grown} bytes for 300 unfinished handshakes"
        for connection in stalled:
            # What was said to the last kind is read, then comes the end.
            with contextlib.suppress(OSError):
                while connection.recv(65536):
                    pass
            connection.close()
        took = time.monotonic() - start
        assert HANDSHAKE_SECONDS - 1 < took
        print(f"stalled handshakes were cut off within {took:.1f} s")


def test_floods_before_the_handshake(files):
    """Whatever is sent instead of a handshake, nothing of it is kept."""
    hello = client_hello()
    # A handshake message of 16 MB, said to be one, in records of 16 kB.
    huge = b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + b"\x00" * (16384 - 4)
    floods = {
        "zeros": b"\x00" * 65536, "a huge hello": huge + (b"\x16\x03\x01\x40\x00" + b"\x00" * 16384) * 3,
        "plain text": b"GET / HTTP/1.1\r\n" * 4096, "many hellos": hello * 100,
        "alerts": b"\x15\x03\x01\x00\x02\x01\x00" * 10000,
    }
    with TLSMember("martlet", files) as running:
        before = running.resident_bytes()
        for name, bytes_ in floods.items():
            with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
                sent = 0
                with contextlib.suppress(OSError):
                    while sent < 64 << 20:
                        connection.sendall(bytes_)
                        sent += len(bytes_)
                assert sent < 64 << 20, f"{name}: taken without end"
        assert running.resident_bytes() - before < 64 << 20
        running.ctl("put", "k", "v")


def test_a_client_that_never_reads(files):
    """Stops reading after the handshake while it asks for much: only its own answers wait."""
    with TLSMember("martlet", files) as running:
        running.ctl("put", "big", stdin="b" * 1_000_000)
        before = running.resident_bytes()
        connections = [running.connect() for _ in range(20)]
        for connection in connections:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 100)
        assert running.ctl("get", "big", "--print-value-only").stdout.strip() == "b" * 1_000_000
        assert running.resident_bytes() - before < 128 << 20
        for connection in connections:
            connection.close()


def test_many_connections_at_once(files):
    """Handshakes in parallel, each followed by a request."""
    with TLSMember("martlet", files, mutual(files), files.alice) as running:
        failures = []

        def work():
            for _ in range(10):
                if b"200 OK" not in running.get("/health"):
                    failures.append(1)

        threads = [threading.Thread(target=work) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures


@pytest.mark.parametrize("kind", KINDS)
def test_the_common_name_is_the_user(kind, files):
    """Without a token, and only with --client-cert-auth; a token goes before the certificate."""
    with TLSMember(kind, files, mutual(files), files.alice) as running:
        for command in ["user add root:pw", "user add alice:pw", "user add bob:pw", "role add a",
                        "role add b", "role grant-permission a readwrite a",
                        "role grant-permission b readwrite b", "user grant-role alice a",
                        "user grant-role bob b", "user grant-role root root"]:
            running.ctl(*command.split())
        running.ctl("auth", "enable")
        assert running.ctl("put", "a", "1").stdout == "OK\n"
        assert "permission denied" in running.ctl("put", "b", "1", check=False).stderr
        assert "permission denied" in running.ctl("user", "list", check=False).stderr
        assert running.ctl("--user=bob:pw", "put", "b", "1").stdout == "OK\n"
        assert "permission denied" in running.ctl("--user=bob:pw", "put", "a", "1",
                                                  check=False).stderr
        # A name that is no user's, and none at all.
        for name, common_name in [("carol", "carol"), ("nameless", "")]:
            other = running.files.ca.issue(name, common_name=common_name)
            assert running.ctl("get", "a", client=other, check=False).returncode != 0
        running.ctl("--user=root:pw", "auth", "disable")
        assert running.ctl("put", "b", "1").stdout == "OK\n"
    with TLSMember(kind, files, [f"--trusted-ca-file={files.ca.certificate}"],
                   files.alice) as running:
        for command in ["user add root:pw", "user add alice:pw", "user grant-role root root",
                        "user grant-role alice root", "auth enable"]:
            running.ctl(*command.split())
        assert running.ctl("put", "a", "1", check=False).returncode != 0
