"""What martletctl does beyond single answers: work that lasts, is interrupted, moves on."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import threading
import time

import pytest
from harness import Cluster, Member, etcd_program, etcdctl
from test_martletctl import SECONDS_MAX, martletctl_binary

WAIT_SECONDS = 60


def environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("ETCD")}


def ctl(endpoint: str, *words: str, check: bool = True,
        stdin: str = "") -> subprocess.CompletedProcess:
    done = subprocess.run([martletctl_binary(), f"--endpoints={endpoint}", *words], text=True,
                          capture_output=True, env=environment(), input=stdin, timeout=SECONDS_MAX)
    assert not check or done.returncode == 0, done
    return done


class Running:
    """A call that goes on: what it prints is waited for line by line."""

    def __init__(self, endpoint: str, *words: str, binary: str | None = None):
        self.process = subprocess.Popen(
            [binary or martletctl_binary(), f"--endpoints={endpoint}", *words], env=environment(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.text = b""

    def type(self, line: str) -> None:
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def wait_for(self, text: str, times: int = 1) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while self.text.count(text.encode()) < times:
            ready, _, _ = select.select([self.process.stdout], [], [],
                                        max(0, deadline - time.monotonic()))
            piece = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            assert piece, f"{text!r} does not come: {self.text}"
            self.text += piece

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        self.text += self.process.stdout.read()
        self.errors = self.process.stderr.read()
        return self.process.wait(WAIT_SECONDS)

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()


def wait_until(condition, what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} in {WAIT_SECONDS} s"
        time.sleep(0.05)


@contextlib.contextmanager
def writing(endpoint: str):
    """Puts, one after the other, as long as the body runs."""
    is_over = threading.Event()

    def put() -> None:
        while not is_over.is_set():
            ctl(endpoint, "put", "written", "v")
    thread = threading.Thread(target=put)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def test_a_watch_survives_a_restart_of_its_server() -> None:
    member = Member("martlet")
    try:
        member.start()
        with Running(member.endpoint, "watch", "k", "--prefix", "--rev", "1") as watch:
            ctl(member.endpoint, "put", "k1", "before")
            watch.wait_for("k1\nbefore\n")
            member.stop()
            member.start()
            ctl(member.endpoint, "put", "k2", "after")
            watch.wait_for("k2\nafter\n")
            assert watch.text == b"PUT\nk1\nbefore\nPUT\nk2\nafter\n"
            assert watch.process.poll() is None
    finally:
        member.close()


def test_a_lease_is_renewed_by_who_comes_back_in_time() -> None:
    member = Member("martlet")
    try:
        member.start()
        lease = ctl(member.endpoint, "lease", "grant", "6").stdout.split()[1]
        with Running(member.endpoint, "lease", "keep-alive", lease,
                     "--command-timeout=500ms") as renewing:
            renewing.wait_for(" keepalived ")
            member.stop()
            assert b"; trying again\n" in renewing.process.stderr.readline()
            member.start()
            renewing.wait_for(" keepalived ", times=2)
            ctl(member.endpoint, "lease", "revoke", lease)
            assert renewing.process.wait(WAIT_SECONDS) == 0
            assert renewing.process.stdout.read().endswith(b" expired or revoked.\n")
    finally:
        member.close()


def test_a_lock_is_held_while_its_command_runs_and_given_back_by_signals() -> None:
    with Member("martlet") as member:
        with Running(member.endpoint, "lock", "l") as first:
            first.wait_for("l/")
            with Running(member.endpoint, "lock", "l", "--", "sh", "-c",
                         "echo mine $ETCD_LOCK_KEY $ETCD_LOCK_REV") as second:
                wait_until(lambda: ctl(member.endpoint, "get", "l", "--prefix", "-w", "json").stdout
                           .count('"key"') == 2, "no second waiter")
                assert first.end() == 0
                second.wait_for("mine l/")
                key, revision = re.search(rb"mine (l/[0-9a-f]+) (\d+)", second.text).groups()
                assert second.process.wait(WAIT_SECONDS) == 0
                assert int(revision) > 0 and key.startswith(b"l/")
        assert ctl(member.endpoint, "get", "l", "--prefix").stdout == ""
        assert ctl(member.endpoint, "lease", "list").stdout == "found 0 leases\n"
        done = ctl(member.endpoint, "lock", "l", "--", "sh", "-c", "exit 7", check=False)
        assert (done.returncode, done.stderr) == (7, "Error: exit status 7\n")


@pytest.mark.parametrize("number,script,code", [
    # `wait` is what a shell lets a signal interrupt for sure.
    (signal.SIGTERM, "trap 'echo got; kill $!; exit 3' TERM; sleep 1000 & echo begun; wait", 3),
    (signal.SIGINT, "echo begun; read line", 0)])
def test_signals_reach_the_command_of_a_lock(number: int, script: str, code: int) -> None:
    """SIGTERM is handed on. SIGINT comes from a terminal, which gives it to the command itself, and is
    not given twice; the lock is held until the command has ended."""
    with Member("martlet") as member:
        with Running(member.endpoint, "lock", "l", "--", "sh", "-c", script) as lock:
            lock.wait_for("begun\n")
            lock.process.send_signal(number)
            if number == signal.SIGTERM:
                lock.wait_for("got\n")
            else:
                assert ctl(member.endpoint, "get", "l", "--prefix").stdout
                lock.type("")
            assert lock.process.wait(WAIT_SECONDS) == code
        assert ctl(member.endpoint, "get", "l", "--prefix").stdout == ""
        killed = ctl(member.endpoint, "lock", "l", "--", "sh", "-c", "kill -KILL $$", check=False)
        assert (killed.returncode, killed.stderr) == (128 + signal.SIGKILL, "Error: signal: killed\n")


def test_an_interrupt_reaches_what_runs_in_the_foreground() -> None:
    """The command of a lock can be interrupted: martletctl's own threads block signals."""
    with Member("martlet") as member:
        process = subprocess.Popen(
            [martletctl_binary(), f"--endpoints={member.endpoint}", "lock", "l", "--", "sh", "-c",
             "echo begun; exec sleep 1000"], env=environment(), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, start_new_session=True)
        try:
            assert process.stdout.readline() == b"begun\n"
            os.killpg(process.pid, signal.SIGINT)  # As a terminal does.
            assert process.wait(WAIT_SECONDS) == 128 + signal.SIGINT
            assert process.stderr.read() == b"Error: signal: interrupt\n"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            process.stdout.close()
            process.stderr.close()
        assert ctl(member.endpoint, "get", "l", "--prefix").stdout == ""


@pytest.mark.parametrize("form,end", [("simple", "progress notify: 1"), ("json", '"Created":false}'),
                                      ("fields", '"RaftTerm" : 2')])
def test_progress_of_interactive_watches(form: str, end: str) -> None:
    """As etcdctl: each watch tells how far it has come."""
    with Member("etcd", release="3.5") as member:
        shown = []
        for binary in (etcd_program("etcdctl", "3.5"), martletctl_binary()):
            with Running(member.endpoint, "watch", "-i", "-w", form, binary=binary) as watch:
                watch.type("watch a")
                watch.type("watch b --prefix")
                watch.type("progress")
                watch.wait_for(f"{end}\n", times=2)
                watch.process.stdin.close()
                assert watch.process.wait(WAIT_SECONDS) == 3
                watch.text += watch.process.stdout.read()
                shown.append(sorted(watch.text.splitlines()))
                assert watch.process.stderr.read() == (
                    b"Error: error reading watch request line: EOF\n")
        assert shown[0] == shown[1]


def test_who_is_elected_is_told_to_listeners() -> None:
    with Member("martlet") as member:
        with Running(member.endpoint, "elect", "e", "one") as one:
            one.wait_for("\none\n")
            with Running(member.endpoint, "elect", "-l", "e") as listener, \
                    Running(member.endpoint, "elect", "e", "two") as two:
                listener.wait_for("\none\n")
                wait_until(lambda: ctl(member.endpoint, "get", "e/", "--prefix", "-w", "json").stdout
                           .count('"key"') == 2, "no second candidate")
                assert one.end(signal.SIGTERM) == 0
                two.wait_for("\ntwo\n")
                listener.wait_for("\ntwo\n")
                assert two.end() == 0


def test_a_mirror_copies_follows_and_outlives_its_destination() -> None:
    destination = Member("martlet")
    try:
        destination.start()
        with Member("martlet") as source:
            for number in range(5):
                ctl(source.endpoint, "put", f"app/{number}", f"v{number}")
            ctl(source.endpoint, "put", "other", "x")
            with Running(source.endpoint, "make-mirror", destination.endpoint, "--prefix=app/",
                         "--dest-prefix=copy/", "--max-txn-ops=2") as mirror:
                def copied() -> str:
                    return ctl(destination.endpoint, "get", "", "--prefix").stdout
                expected = "".join(f"copy/{n}\nv{n}\n" for n in range(5))
                wait_until(lambda: copied() == expected, "not copied")
                ctl(source.endpoint, "del", "app/0")
                ctl(source.endpoint, "put", "app/9", "new")
                wait_until(lambda: "copy/0" not in copied() and "copy/9\nnew" in copied(), "no follow")
                destination.stop()
                ctl(source.endpoint, "put", "app/10", "later")
                destination.start()
                wait_until(lambda: "copy/10\nlater" in copied(), "not resumed")
                assert "other" not in copied()
                assert mirror.process.poll() is None
    finally:
        destination.close()


@pytest.mark.parametrize("flags", [["--dest-user=root:pw"],
                                   ["--dest-user=root", "--dest-password=pw"]])
def test_a_mirror_logs_in_at_its_destination(flags: list[str]) -> None:
    """As etcdctl does; and it may begin late."""
    with Member("martlet", ["--bcrypt-cost=4"]) as source, \
            Member("martlet", ["--bcrypt-cost=4"]) as destination:
        ctl(destination.endpoint, "user", "add", "root:pw")
        ctl(destination.endpoint, "auth", "enable")
        ctl(source.endpoint, "put", "old", "1")
        ctl(source.endpoint, "put", "new", "1")

        def copied() -> str:
            return ctl(destination.endpoint, "--user=root:pw", "get", "", "--prefix",
                       "--keys-only").stdout
        with Running(source.endpoint, "make-mirror", destination.endpoint, *flags, "--rev=3"):
            wait_until(lambda: copied() == "new\n\n", "not begun at its revision")
        with Running(source.endpoint, "make-mirror", destination.endpoint, *flags,
                     binary=etcd_program("etcdctl", "3.5")):
            wait_until(lambda: copied() == "new\n\nold\n\n", "not copied")
        refused = ctl(source.endpoint, "make-mirror", destination.endpoint, "--dest-user=root:no",
                      check=False)
        assert refused.returncode != 0 and "authentication failed" in refused.stderr, refused


def test_shapes_that_only_martletctl_has() -> None:
    with Member("martlet") as member:
        ctl(member.endpoint, "put", "a/b", "1")
        ctl(member.endpoint, "put", "a/c/d", "2")
        ctl(member.endpoint, "put", "a/b", "3")
        tree = ctl(member.endpoint, "get", "a", "--prefix", "--tree").stdout
        assert tree == "a/\n├── b = 3\n└── c/\n    └── d = 2\n"
        assert ctl(member.endpoint, "get", "", "--prefix", "--min-mod-rev=4").stdout == "a/b\n3\n"
        assert ctl(member.endpoint, "get", "", "--prefix", "--max-create-rev=2",
                   "--keys-only").stdout == "a/b\n\n"
        count = ctl(member.endpoint, "get", "", "--prefix", "--count-only", "-w", "fields").stdout
        assert '"Count" : 2\n' in count and '"Key"' not in count
        refused = ctl(member.endpoint, "get", "", "--prefix", "--count-only", check=False)
        assert refused.returncode == 128
        assert ctl(member.endpoint, "auth", "status").stdout == (
            "Authentication Status: false\nAuthRevision: 1\n")
        status = json.loads(ctl(member.endpoint, "auth", "status", "-w", "json").stdout)
        assert status["authRevision"] == 1 and "enabled" not in status
        hexed = json.loads(ctl(member.endpoint, "member", "list", "-w", "json", "--hex").stdout)
        assert re.fullmatch("[0-9a-f]{1,16}", hexed["members"][0]["ID"])
        assert re.fullmatch(r"martletctl version: \S+\nAPI version: 3\.\d+\n",
                            ctl(member.endpoint, "version").stdout)
        top = ctl(member.endpoint, "top", "--count=1", "--interval=100ms", "-w", "json").stdout
        row, = json.loads(top)
        assert row["ROLE"] == "leader" and row["REVISION"] == "4" and row["WRITES/S"] == "0"


def test_nothing_is_done_when_the_format_is_none_of_the_commands() -> None:
    with Member("martlet") as member:
        done = ctl(member.endpoint, "put", "k", "v", "-w", "table", check=False)
        assert done.returncode == 4
        assert done.stderr == "Error: table not supported as output format\n"
        assert ctl(member.endpoint, "get", "k").stdout == ""


def test_a_snapshot_is_whole_or_not_there(tmp_path) -> None:
    with Member("martlet") as member:
        ctl(member.endpoint, "put", "k", "v" * 1000)
        path = tmp_path / "s.db"
        assert ctl(member.endpoint, "snapshot", "save", str(path)).stdout == (
            f"Snapshot saved at {path}\n")
        assert path.stat().st_size > 1000
        assert not (tmp_path / "s.db.part").exists()
    restored = Member("martlet")
    try:
        ctl(restored.endpoint, "snapshot", "restore", str(path), "--name=m1",
            f"--data-dir={restored.directory}/data", f"--initial-cluster=m1={restored.peer_url}",
            f"--initial-advertise-peer-urls={restored.peer_url}")
        restored.start()
        assert ctl(restored.endpoint, "get", "k", "--print-value-only").stdout == "v" * 1000 + "\n"
    finally:
        restored.close()
    path.unlink()
    gone = ctl(member.endpoint, "--command-timeout=1s", "snapshot", "save", str(path), check=False)
    assert gone.returncode == 5
    assert list(tmp_path.iterdir()) == []


def test_passwords_are_not_shown_and_colour_is_for_terminals() -> None:
    """On a terminal of its own."""
    with Member("martlet") as member:
        ctl(member.endpoint, "put", "k", "v")
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(martletctl_binary(), ["martletctl", f"--endpoints={member.endpoint}", "user",
                                            "add", "someone"], {"TERM": "xterm"})
        text = b""

        def expect(wanted: bytes) -> None:
            nonlocal text
            deadline = time.monotonic() + WAIT_SECONDS
            while wanted not in text:
                ready, _, _ = select.select([terminal], [], [], max(0, deadline - time.monotonic()))
                assert ready, f"{wanted!r} does not come: {text!r}"
                text += os.read(terminal, 65536)

        expect(b"Password of someone: ")
        os.write(terminal, b"secret\n")
        expect(b"again for confirmation: ")
        os.write(terminal, b"secret\n")
        expect(b"User someone created")
        assert b"secret" not in text
        assert os.waitpid(pid, 0)[1] == 0
        os.close(terminal)
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(martletctl_binary(), ["martletctl", f"--endpoints={member.endpoint}", "watch",
                                            "k", "--rev", "1"], {"TERM": "xterm"})
        text = b""
        expect(b"\x1b[32mPUT\x1b[0m")
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def test_several_members() -> None:
    with Cluster("martlet") as cluster:
        leader = cluster.leader()
        other = next(member for member in cluster.members if member is not leader)
        healthy = ctl(leader.endpoint, "endpoint", "health", "--cluster").stdout
        assert healthy.count("is healthy") == 3
        moved = ctl(cluster.endpoints, "move-leader", cluster.id_of(other)).stdout
        assert moved.startswith("Leadership transferred from ")
        hashes = json.loads(ctl(leader.endpoint, "endpoint", "hashkv", "--cluster", "-w",
                                "json").stdout)
        assert len({row["HashKV"]["hash"] for row in hashes}) == 1 and len(hashes) == 3
        top = json.loads(ctl(leader.endpoint, "top", "--count=1", "--interval=100ms", "-w",
                             "json").stdout)
        assert sorted(row["ROLE"] for row in top) == ["follower", "follower", "leader"]
        other.kill()
        ctl(cluster.endpoints, "put", "k", "v")
        rest = ",".join(m.endpoint for m in cluster.members if m is not other)
        assert ctl(rest, "endpoint", "health").stdout.count("is healthy") == 2
        with writing(rest):
            top = json.loads(ctl(rest, "top", "--count=1", "--interval=1s", "--command-timeout=1s",
                                 "-w", "json").stdout)
        for row in top:
            is_away = row["ENDPOINT"].endswith(other.endpoint)
            assert (row["ROLE"] == "") == is_away == (row["ERRORS"] != ""), top
            assert is_away or int(row["WRITES/S"]) > 0 and int(row["APPLIED/S"]) > 0, top
        done = ctl(other.endpoint, "endpoint", "health", "--command-timeout=300ms", check=False)
        assert done.returncode == 1 and "is unhealthy" in done.stderr


def test_output_that_nobody_takes() -> None:
    with Member("martlet") as member:
        ctl(member.endpoint, "put", "k", stdin="v" * 1_000_000)
        words = f"'{martletctl_binary()}' --endpoints={member.endpoint} get k"
        done = subprocess.run(["bash", "-c", f"{words} | head -c 1; echo ${{PIPESTATUS[0]}}"],
                              capture_output=True, text=True, timeout=SECONDS_MAX)
        assert (done.stdout, done.stderr) == ("k0\n", "")
        done = subprocess.run(["bash", "-c", f"{words} >/dev/full"], capture_output=True,
                              timeout=SECONDS_MAX)
        assert done.returncode == 6
        # A watch ends with its reader, at the next change.
        with Running(member.endpoint, "watch", "k") as watch:
            watch.process.stdout.close()
            wait_until(lambda: ctl(member.endpoint, "put", "k", "1") and watch.process.poll() == 0,
                       "the watch goes on")


def test_what_cannot_be_an_endpoint_is_said_at_once() -> None:
    for endpoint in ("ftp://127.0.0.1:1", "127.0.0.1:99999", "127.0.0.1:1/path"):
        done = ctl(endpoint, "--command-timeout=1h", "get", "k", check=False)
        assert done.returncode == 128 and "is not an endpoint" in done.stderr, done
    none = ctl("", "get", "k", check=False)
    assert (none.returncode, none.stderr) == (2, "Error: etcdclient: no available endpoints\n")


def test_without_a_server() -> None:
    done = ctl("127.0.0.1:1", "--command-timeout=500ms", "get", "k", check=False)
    assert done.returncode == 1 and done.stdout == ""
    first, second = done.stderr.splitlines()
    assert first == "Error: context deadline exceeded"
    assert "127.0.0.1:1" in second


def test_the_servers_of_another_tool_are_the_same(tmp_path) -> None:
    """martletctl at etcd: a load, a snapshot that Debian's etcdctl restores."""
    with Member("etcd") as member:
        for number in range(20):
            ctl(member.endpoint, "put", f"k{number}", "v" * 100)
        path = tmp_path / "s.db"
        ctl(member.endpoint, "snapshot", "save", str(path))
        status = etcdctl(member, "snapshot", "status", str(path), "-w", "json").stdout
        assert json.loads(status)["revision"] == 21


@pytest.mark.skipif(not os.environ.get("MARTLET_LONG"), reason="a minute of load")
def test_checks() -> None:
    with Member("martlet") as member:
        done = subprocess.run(
            [martletctl_binary(), f"--endpoints={member.endpoint}", "check", "perf"],
            capture_output=True, text=True, env=environment(), timeout=180)
        assert done.stdout.splitlines()[-1] in ("PASS", "FAIL"), done
        scale = ctl(member.endpoint, "check", "datascale", "--auto-compact", check=False)
        assert "Approximate system memory used" in scale.stdout, scale
        assert ctl(member.endpoint, "get", "/etcdctl-check", "--prefix").stdout == ""
