"""etcdctl over TLS and over mutual TLS: watch, lease, lock, elect, auth, user, role, alarm, snapshot,
txn, make-mirror. They are the tests of test_etcdctl_services.py, run again on members with TLS; Debian's
etcd is asked first.
"""

import os
import pathlib
import ssl
import urllib.request

import grpc
import pytest

from harness import etcdctl
from semantics import CHANNEL_OPTIONS, Server, prefix_end, wait_until
from test_etcdctl import run_both
# Imported tests run in this module too, with its fixture `server`.
from test_etcdctl_services import (  # noqa: F401
    SCRIPTS, Running, test_alarm_list_and_disarm, test_elect, test_lease, test_lease_errors,
    test_lease_list_counts, test_lock, test_lock_with_a_command,
    test_snapshot_save_under_writes, test_watch, test_watch_as_json, test_watch_from_a_revision,
    test_watch_interactively, test_watch_interactively_in_a_terminal,
    test_watch_of_a_compacted_revision, test_watch_prefix_with_prev_kv, test_watch_with_a_command,
    test_watch_with_a_command_and_a_range)
from test_tls import Files, mutual

SERVER_FLAGS = ["--bcrypt-cost=4"]
MODES = ["tls", "mutual"]


class SecureServer(Server):
    """A member with TLS, on which etcdctl and the stubs of Python know their certificates."""

    def __init__(self, kind, files, mode, client=None):
        super().__init__(kind)
        self.files = files
        self.client = (client or files.alice) if mode == "mutual" else None
        self.flags = [f"--listen-client-urls={self.endpoint}",
                      f"--advertise-client-urls={self.endpoint}",
                      f"--cert-file={files.server[0]}", f"--key-file={files.server[1]}",
                      *SERVER_FLAGS, *(mutual(files) if self.client else [])]

    @property
    def endpoint(self):
        return f"https://127.0.0.1:{self.port}"

    @property
    def ctl_flags(self):
        trusted = [f"--cacert={self.files.ca.certificate}"]
        if self.client is None:
            return trusted
        return [*trusted, f"--cert={self.client[0]}", f"--key={self.client[1]}"]

    def is_healthy(self):
        context = ssl.create_default_context(cafile=self.files.ca.certificate)
        if self.client:
            context.load_cert_chain(*self.client)
        try:
            with urllib.request.urlopen(f"{self.endpoint}/health", context=context,
                                        timeout=5) as answer:
                return b'"health":"true"' in answer.read()
        except OSError:
            return False

    def connect(self):
        read = lambda path: pathlib.Path(path).read_bytes()
        pair = dict(zip(("private_key", "certificate_chain"), map(read, (self.client or ())[::-1])))
        self.channel = grpc.secure_channel(
            f"localhost:{self.port}",
            grpc.ssl_channel_credentials(read(self.files.ca.certificate), **pair),
            options=CHANNEL_OPTIONS)
        self.use()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module", params=[(kind, mode) for kind in ("etcd", "martlet")
                                        for mode in MODES], ids="-".join)
def server(request, stubs, files):
    with SecureServer(request.param[0], files, request.param[1]) as running:
        yield running


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", sorted(set(SCRIPTS) - {"endpoints and moving"}))
def test_same_as_etcd(stubs, files, name, mode):
    """users, roles, auth, alarms, txn -i: with mutual TLS the scripts' bob is the user where they
    name none."""
    bob = files.ca.issue("bob")
    with SecureServer("etcd", files, mode, bob) as theirs, \
            SecureServer("martlet", files, mode, bob) as ours:
        run_both((ours, theirs), SCRIPTS[name])


def test_a_certificate_of_nobody(stubs, files):
    """It names no user: that is said where users are managed, and elsewhere access is denied."""
    with SecureServer("etcd", files, "mutual") as theirs, \
            SecureServer("martlet", files, "mutual") as ours:
        run_both((ours, theirs), [command.split() for command in (
            "user add root:pw", "user grant-role root root", "user add bob:pw", "role add r",
            "auth enable", "get a", "put a b", "del a", "user list", "user get bob",
            "user get alice", "user add x:y", "user delete bob", "user grant-role bob r",
            "role list", "role get r", "role add s", "role delete r", "auth disable")])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["etcd", "martlet"])
def test_commands_as_the_certificates_user(stubs, files, kind, mode):
    """watch, lease, lock and snapshot with auth on: by the certificate with mutual TLS, else by a
    password."""
    with SecureServer(kind, files, mode) as running:
        for command in ["user add root:pw", "user grant-role root root", "user add alice:pw",
                        "role add r", "role grant-permission r readwrite a b",
                        "user grant-role alice r", "auth enable"]:
            etcdctl(running, *command.split())
        me = [] if mode == "mutual" else ["--user=alice:pw"]
        assert etcdctl(running, *me, "put", "a1", "v").stdout == "OK\n"
        with Running(running, *me, "watch", "a", "b", "--rev=1") as watch:
            assert watch.lines(3) == ["PUT", "a1", "v"]
        with Running(running, *me, "watch", "c") as watch:
            assert "permission denied" in watch.line()
        assert etcdctl(running, *me, "lock", "a-lock", "echo", "held").stdout == "held\n"
        assert "permission denied" in etcdctl(running, *me, "lock", "c", "echo", "held",
                                              check=False).stderr
        lease = etcdctl(running, *me, "lease", "grant", "600").stdout.split()[1]
        etcdctl(running, *me, "put", "a2", "v", f"--lease={lease}")
        etcdctl(running, *me, "lease", "revoke", lease)
        assert etcdctl(running, *me, "get", "a", "b", "--keys-only").stdout.split() == ["a1"]
        saved = str(pathlib.Path(running.directory) / "s.db")
        assert "permission denied" in etcdctl(running, *me, "snapshot", "save", saved,
                                              check=False).stderr
        etcdctl(running, "--user=root:pw", "snapshot", "save", saved)
        assert os.path.getsize(saved) > 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["etcd", "martlet"])
def test_make_mirror(stubs, files, kind, mode):
    """From a member with TLS to a plain one, and back into one with TLS."""
    with SecureServer(kind, files, mode) as secure, Server("martlet") as plain:
        secure.put(b"m/before", b"1")
        wanted = {b"m/before": b"1", b"m/after": b"2"}
        copied = lambda where, to: {kv.key: kv.value for kv
                                    in where.get(to, prefix_end(to)).kvs}
        with Running(secure, "make-mirror", "--prefix=m/", plain.endpoint):
            wait_until(lambda: copied(plain, b"m/") == {b"m/before": b"1"}, "what was there")
            secure.put(b"m/after", b"2")
            wait_until(lambda: copied(plain, b"m/") == wanted, "the change")
        there = [flag.replace("--", "--dest-", 1) for flag in secure.ctl_flags]
        with Running(plain, "make-mirror", "--prefix=m/", "--dest-prefix=copy/",
                     "--dest-insecure-transport=false", *there, secure.endpoint):
            wait_until(lambda: copied(secure, b"copy/") == {
                b"copy/" + key[2:]: value for key, value in wanted.items()}, "the way back")


@pytest.mark.skipif("MARTLET_LONG" not in os.environ, reason="a minute of load: set MARTLET_LONG")
def test_check_perf(stubs, files):
    with SecureServer("martlet", files, "mutual") as running:
        done = etcdctl(running, "check", "perf", timeout=180, check=False)
        assert "PASS: Throughput" in done.stdout, done.stdout
