"""Flags, environment variables and the configuration file, as an operator mistypes them."""

import os
import subprocess
import tempfile

import pytest

from harness import Member, etcdctl, martlet_binary

SECONDS = 60


def run(*arguments, environment=None, timeout=SECONDS):
    """Runs the binary to its end; for command lines that must not start a member."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("ETCD")}
    clean.update(environment or {})
    with tempfile.TemporaryDirectory(prefix="martlet-test-flags-") as folder:
        return subprocess.run([martlet_binary(), *arguments], capture_output=True, text=True,
                              timeout=timeout, env=clean, stdin=subprocess.DEVNULL, cwd=folder)


def test_help_and_version():
    for flag in ("--help", "-h", "-help"):
        done = run(flag)
        assert done.returncode == 0 and "--listen-client-urls" in done.stdout, flag
    for arguments in (["--version"], ["version"]):
        done = run(*arguments)
        assert done.returncode == 0 and "0." in done.stdout, arguments


def test_closed_output():
    """`martlet --help | head -1` ends without a crash."""
    done = subprocess.run(f"{martlet_binary()} --help | head -1; exit ${{PIPESTATUS[0]}}",
                          shell=True, executable="/bin/bash", capture_output=True, text=True,
                          timeout=SECONDS)
    assert done.returncode in (0, 141) and "Fatal" not in done.stderr


@pytest.mark.parametrize("wrong, nearest", [
    ("--data-dri=x", "--data-dir"), ("--nmae=x", "--name"),
    ("-listen-client-url=http://localhost:1", "--listen-client-urls"),
    ("--snapshot-cuont=5", "--snapshot-count"), ("--max-txn-op", "--max-txn-ops")])
def test_unknown_flag_names_the_nearest(wrong, nearest):
    done = run(wrong)
    assert done.returncode != 0
    assert wrong.split("=")[0].lstrip("-") in done.stderr and nearest in done.stderr


@pytest.mark.parametrize("arguments", [
    ["--xyzzy"], ["stray"], ["--name"], ["--election-timeout=abc"], ["--election-timeout=-5"],
    ["--heartbeat-interval=1000", "--election-timeout=1000"], ["--max-txn-ops=99999999999999999999"],
    ["--listen-client-urls=nonsense"], ["--listen-client-urls=http://127.0.0.1"],
    ["--listen-client-urls=http://127.0.0.1:99999"], ["--quota-backend-bytes=1.5"],
    ["--initial-cluster-state=old"], ["--initial-cluster=m1=http://127.0.0.1:1,m2="],
    ["--log-level=loud"], ["--auto-compaction-mode=never"], ["--config-file=/does/not/exist"],
    ["--strict-reconfig-check=perhaps"], ["--grpc-keepalive-min-time=5 apples"],
    ["--listen-client-urls=https://127.0.0.1:1", "--cert-file=/does/not/exist"],
])
def test_bad_flags_end_with_a_reason(arguments, tmp_path):
    """A line that names the flag, an exit code, no member and no data directory."""
    done = run(*arguments, f"--data-dir={tmp_path}/data") if arguments != ["--name"] else run(
        f"--data-dir={tmp_path}/data", *arguments)
    text = done.stderr + done.stdout
    assert done.returncode in (1, 2), (arguments, done)
    assert "Fatal error" not in text and text.strip(), text
    assert not (tmp_path / "data").exists() or not any((tmp_path / "data").rglob("*.log")), text


def test_environment(tmp_path):
    """ETCD_* count, a flag beats them, an unknown one does no harm."""
    member = Member("martlet", ["--max-txn-ops=2"])
    clean = {k: v for k, v in os.environ.items() if not k.startswith("ETCD")}
    clean.update(ETCD_MAX_TXN_OPS="1", ETCD_INITIAL_CLUSTER_TOKEN="from-env",
                 ETCD_NO_SUCH_THING="x")
    log = open(member.log_path, "ab")
    member.process = subprocess.Popen(member.command(), stdout=log, stderr=log,
                                      stdin=subprocess.DEVNULL, env=clean)
    log.close()
    try:
        member.wait_until_healthy()
        etcdctl(member, "txn", stdin="\nput a 1\nput b 1\n\n\n\n")
        three = etcdctl(member, "txn", stdin="\nput a 1\nput b 1\nput c 1\n\n\n\n", check=False)
        assert "too many operations" in three.stderr
    finally:
        member.close()
    wrong = run(f"--data-dir={tmp_path}/x", environment={"ETCD_ELECTION_TIMEOUT": "soon"})
    assert wrong.returncode != 0 and "ETCD_ELECTION_TIMEOUT" in wrong.stderr + wrong.stdout


def config_text(member, **more):
    keys = {
        "name": "m1", "data-dir": f"{member.directory}/data",
        "listen-client-urls": f"http://127.0.0.1:{member.port}",
        "advertise-client-urls": f"http://127.0.0.1:{member.port}",
        "listen-peer-urls": f"http://127.0.0.1:{member.peer_port}",
        "initial-advertise-peer-urls": f"http://127.0.0.1:{member.peer_port}",
        "initial-cluster": f"m1=http://127.0.0.1:{member.peer_port}", **more}
    return "".join(f"{key}: {value}\n" for key, value in keys.items())


def test_config_file(tmp_path):
    """With a file the file alone counts: flags and variables beside it do not."""
    member = Member("martlet")
    path = tmp_path / "martlet.yaml"
    path.write_text("# a comment\n" + config_text(member, **{"max-txn-ops": 1}))
    member.command = lambda: [martlet_binary(), f"--config-file={path}", "--max-txn-ops=100"]
    with member:
        two = etcdctl(member, "txn", stdin="\nput a 1\nput b 1\n\n\n\n", check=False)
        assert "too many operations" in two.stderr


@pytest.mark.parametrize("content", [
    "name: [1, 2\n", "election-timeout: soon\n", "- a\n- b\n", "\0\0\0", "name",
    "max-txn-ops: -3\n", "a: &a [*a]\n", "x: " + "[" * 20_000, "&x [" * 3000,
])
def test_bad_config_files(content, tmp_path):
    """Wrong values, wrong YAML, YAML that means to blow up: a reason, at once."""
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    done = run(f"--config-file={path}")
    assert done.returncode in (1, 2), (done.returncode, done.stderr[-500:])
    text = done.stderr + done.stdout
    assert "bad.yaml" in text or content.split(":")[0] in text, text


def test_harmless_config_files(tmp_path):
    """As etcd does, it only warns of unknown keys; anchors that expand to 3^30 cost nothing."""
    bomb = "\n".join(f"l{n}: &l{n} [*l{n - 1}, *l{n - 1}, *l{n - 1}]" if n else "l0: &l0 [x, x, x]"
                     for n in range(30))
    member = Member("martlet")
    path = tmp_path / "martlet.yaml"
    path.write_text(config_text(member, nmae="x") + bomb + "\n")
    member.command = lambda: [martlet_binary(), f"--config-file={path}"]
    with member:
        assert "nmae" in member.log() and "Did you mean name" in member.log()
        assert member.resident_bytes() < 200 << 20


def test_port_in_use(tmp_path):
    with Member("martlet") as first:
        second = Member("martlet")
        second.port = first.port
        second.start(wait=False)
        try:
            assert second.process.wait(SECONDS) != 0
            assert str(first.port) in second.log() and "in use" in second.log().lower()
        finally:
            second.close()
        etcdctl(first, "put", "still", "here")


def test_unix_socket(tmp_path):
    member = Member("martlet")
    path = tmp_path / "m.sock"
    command = [a for a in member.command() if not a.startswith("--listen-client-urls")]
    member.command = lambda: [*command, f"--listen-client-urls=unix://{path},"
                                        f"http://127.0.0.1:{member.port}"]
    with member:
        done = subprocess.run(
            ["curl", "-s", "--unix-socket", str(path), "--max-time", "5", "http://x/health"],
            capture_output=True, text=True, timeout=20)
        assert '"health":"true"' in done.stdout
        member.kill()
        member.start()  # The socket that the kill left behind is not in the way.


def test_gos_spelling():
    """One dash, a value after a space, booleans without a value, old flags with a warning."""
    member = Member("martlet")
    command = member.command()
    member.command = lambda: [command[0], *[
        part for argument in command[1:] for part in argument[1:].split("=", 1)],
        "-strict-reconfig-check", "--pre-vote=t", "--enable-v2=false",
        "--experimental-warning-apply-duration", "200ms", "-snapshot-count", "5000"]
    with member:
        etcdctl(member, "put", "a", "b")
        assert "enable-v2" in member.log()
