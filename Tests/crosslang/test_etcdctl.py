"""Debian's etcdctl 3.4 against Martlet, and the same commands against Debian's etcd.

Each script runs on a fresh member of either kind; the outputs must be equal once the fields that
name a member or a cluster are taken out.
"""

import json
import os
import re
import subprocess

import pytest

from harness import Member, etcdctl

# What differs between any two clusters: IDs and Raft's terms.
VOLATILE = {"cluster_id", "member_id", "raft_term"}
VOLATILE_FIELDS = re.compile(r'^"?(ClusterID|MemberID|RaftTerm)"? : .*$', re.MULTILINE)


def strip(value):
    if isinstance(value, dict):
        return {k: strip(v) for k, v in value.items() if k not in VOLATILE}
    if isinstance(value, list):
        return [strip(v) for v in value]
    return value


def comparable(arguments, done):
    text = done.stdout
    if "json" in arguments and text.startswith("{"):
        return [strip(json.loads(line)) for line in text.strip().splitlines()]
    if "fields" in arguments:
        return VOLATILE_FIELDS.sub("", text)
    return text


def error_text(done):
    """The message of an error, without the client's timestamps and addresses."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
    return lines or done.stderr.splitlines()[-1:]


def run_both(both, script):
    """Runs [(arguments, stdin)] on both members, comparing output and exit code step by step."""
    ours, theirs = both
    for step in script:
        arguments, stdin = step if isinstance(step, tuple) else (step, None)
        left = etcdctl(ours, *arguments, stdin=stdin, check=False)
        right = etcdctl(theirs, *arguments, stdin=stdin, check=False)
        context = f"{arguments}\nmartlet: {left.stdout}{left.stderr}\netcd: {right.stdout}{right.stderr}"
        assert left.returncode == right.returncode, context
        assert comparable(arguments, left) == comparable(arguments, right), context
        if right.returncode != 0:
            assert error_text(left) == error_text(right), context


KEYS = ["a", "b", "ba", "bb", "c", "d", "d/1", "d/2"]

FILL = (
    [["put", key, f"value {key}"] for key in KEYS]
    + [["put", "b", "second"], ["put", "d", "again"], ["del", "c"], ["put", "a", ""]]
)

SCRIPTS = {
    "put": [
        ["put", "k", "v"],
        ["put", "k", "w", "--prev-kv"],
        ["put", "k", "x", "-w", "json", "--prev-kv"],
        ["put", "k", "--ignore-value"],
        ["put", "absent", "--ignore-value"],
        ["put", "k", "v", "--ignore-value"],
        ["put", "k", "y", "--ignore-lease"],
        ["put", "absent", "y", "--ignore-lease"],
        ["put", "k", "v", "--lease=1234"],
        (["put", "from-stdin"], "several\nlines"),
        ["put", "", "v"],
        ["put", "big", "x" * 100_000],
        ["get", "k", "-w", "json"],
        ["get", "k", "-w", "fields"],
        ["get", "from-stdin"],
    ],
    "get": FILL + [
        ["get", "a"], ["get", "nothing"], ["get", "b", "--print-value-only"],
        ["get", "", "--prefix"], ["get", "b", "--prefix", "-w", "json"],
        ["get", "b", "d"], ["get", "d", "b"], ["get", "b", "--from-key"],
        ["get", "", "--from-key", "--keys-only"],
        ["get", "", "--prefix", "--limit=3", "-w", "json"],
        ["get", "", "--prefix", "--count-only", "-w", "json"],
        ["get", "", "--prefix", "--count-only", "-w", "fields"],
        ["get", "", "--prefix", "--keys-only", "-w", "json"],
        ["get", "", "--prefix", "--consistency=s"],
        *[["get", "", "--prefix", f"--sort-by={by}", f"--order={order}", "-w", "json"]
          for by in ("CREATE", "KEY", "MODIFY", "VALUE", "VERSION")
          for order in ("ASCEND", "DESCEND")],
        ["get", "", "--prefix", "--sort-by=MODIFY", "--limit=2", "-w", "json"],
        *[["get", "", "--prefix", f"--rev={rev}", "-w", "json"] for rev in range(1, 16)],
        ["get", "c", "--rev=8", "-w", "fields"],
    ],
    "del": FILL + [
        ["del", "nothing"], ["del", "b", "--prev-kv"], ["del", "b", "--prefix"],
        ["del", "d", "e", "--prev-kv", "-w", "json"], ["del", "x", "a", "-w", "json"],
        ["del", "", "--from-key", "-w", "fields"], ["get", "", "--prefix", "-w", "json"],
    ],
    "txn": FILL + [
        (["txn"], 'value("b") = "second"\n\nput yes 1\nget b\n\nput no 1\n\n'),
        (["txn"], 'version("b") > "7"\n\nput yes 2\n\nput no 2\ndel d --prefix\n\n'),
        (["txn", "-w", "json"], 'mod("a") < "100"\ncreate("zz") = "0"\n\nget "" --prefix\n\n\n\n'),
        (["txn"], 'value("zz") = ""\n\nput yes 3\n\nput no 3\n\n'),
        (["txn"], 'mod("a") != "3"\n\nput k 1\nput k 2\n\n\n\n'),
        (["txn"], 'mod("a") != "3"\n\nput k 1\ndel k\n\n\n\n'),
        (["txn"], 'mod("a") != "3"\n\nget a --rev=1000\nput q q\n\n\n\n'),
        (["txn"], "\n\n".join([""] + ["\n".join(f"put t{i} {i}" for i in range(129)), "", ""])),
        ["get", "", "--prefix", "-w", "json"],
    ],
    "compaction": FILL + [
        ["compaction", "8"], ["compaction", "8"], ["compaction", "5"], ["compaction", "1000"],
        ["get", "a", "--rev=5"], ["get", "", "--prefix", "--rev=8", "-w", "json"],
        ["compaction", "11", "--physical"], ["get", "", "--prefix", "--rev=10"],
        ["get", "", "--prefix", "--rev=11", "-w", "json"], ["get", "c", "--rev=12"],
        ["get", "", "--prefix", "--rev=2000"],
    ],
}


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_same_as_etcd(both, name):
    run_both(both, SCRIPTS[name])


def test_hashkv_is_etcds(both):
    """The same history hashes the same, at every revision, before and after compactions."""
    ours, theirs = both

    def hashes(member, revision):
        done = etcdctl(member, "endpoint", "hashkv", f"--rev={revision}", "-w", "json", check=False)
        if done.returncode != 0 or not done.stdout.strip():
            return "error"
        return json.loads(done.stdout)[0]["HashKV"]["hash"]

    def compare(revisions):
        for revision in revisions:
            assert hashes(ours, revision) == hashes(theirs, revision), f"revision {revision}"

    for arguments in FILL:
        for member in both:
            etcdctl(member, *arguments)
    compare(range(0, 14))
    for member in both:
        etcdctl(member, "txn", stdin='version("a") > "0"\n\nput t1 1\nput t2 2\ndel bb\n\n\n\n')
        etcdctl(member, "compaction", "9", "--physical")
    compare(range(9, 15))
    compare([0])
    for member in both:
        etcdctl(member, "compaction", "13", "--physical")
        etcdctl(member, "put", "after", "it")
    compare([0, 13, 14, 15])


def test_member_list(both):
    for member in both:
        listed = json.loads(etcdctl(member, "member", "list", "-w", "json").stdout)
        (only,) = listed["members"]
        assert only["name"] == "m1"
        assert only["peerURLs"] == [f"http://127.0.0.1:{member.peer_port}"]
        assert only["clientURLs"] == [f"http://127.0.0.1:{member.port}"]
        assert only["ID"] == listed["header"]["member_id"]
        line = etcdctl(member, "member", "list").stdout.strip()
        assert re.fullmatch(
            rf"[0-9a-f]+, started, m1, {only['peerURLs'][0]}, {only['clientURLs'][0]}, false", line)


def test_ids_are_those_etcd_computes():
    """With the same peer URL and token both compute the same IDs."""
    answers = []
    with Member("martlet", ["--initial-cluster-token=tok"]) as ours:
        header = json.loads(etcdctl(ours, "get", "x", "-w", "json").stdout)["header"]
        answers.append((header["cluster_id"], header["member_id"]))
        port = ours.peer_port
    theirs = Member("etcd", ["--initial-cluster-token=tok"])
    theirs.peer_port = port
    with theirs:
        header = json.loads(etcdctl(theirs, "get", "x", "-w", "json").stdout)["header"]
        answers.append((header["cluster_id"], header["member_id"]))
    assert answers[0] == answers[1]


def test_endpoint_health_and_status(martlet):
    assert "is healthy" in (lambda d: d.stdout + d.stderr)(etcdctl(martlet, "endpoint", "health"))
    etcdctl(martlet, "put", "status", "x")
    status = json.loads(etcdctl(martlet, "endpoint", "status", "-w", "json").stdout)[0]["Status"]
    assert status["leader"] == status["header"]["member_id"]
    assert status["raftIndex"] >= status["raftAppliedIndex"] > 0
    assert status["raftTerm"] == status["header"]["raft_term"] > 0
    assert status["dbSize"] > 0 and status["dbSizeInUse"] > 0
    assert re.fullmatch(r"3\.\d+\.\d+", status["version"])
    assert martlet.endpoint in etcdctl(martlet, "endpoint", "status", "-w", "table").stdout


def test_snapshot_save(martlet, tmp_path):
    """etcdctl checks the SHA-256 that ends the stream by its length alone; here it is computed."""
    import hashlib
    for i in range(50):
        etcdctl(martlet, "put", f"snap/{i}", "v" * 1000) if i < 3 else None
    path = tmp_path / "snapshot.db"
    etcdctl(martlet, "snapshot", "save", str(path))
    content = path.read_bytes()
    assert len(content) % 512 == 32
    assert hashlib.sha256(content[:-32]).digest() == content[-32:]
    assert os.stat(path).st_size > 4096


# Formats that scripts read: table output, protobuf, hex, and the orders of keys.
FORMATS = FILL + [
    *[["get", "", "--prefix", "-w", form] for form in ("fields", "protobuf", "json")],
    *[["get", "b", "--prefix", "--hex", "-w", form] for form in ("simple", "fields", "json")],
    *[["get", "", "--prefix", "--keys-only", f"--order={order}", f"--sort-by={by}"]
      for order in ("ASCEND", "DESCEND") for by in ("KEY", "VERSION", "CREATE", "MODIFY", "VALUE")],
    ["get", "d", "--prefix", "--print-value-only"], ["get", "", "--prefix", "--limit=2"],
    ["get", "a", "--hex", "--print-value-only"], ["get", "a", "-w", "table"],
    ["put", "k", "v", "-w", "fields"], ["put", "k", "w", "-w", "protobuf", "--prev-kv"],
    ["del", "k", "-w", "protobuf", "--prev-kv"], ["del", "d", "--prefix", "--hex", "--prev-kv"],
    ["put", "k", "v", "-w", "table"], ["get", "nothing", "-w", "table"],
]


def without_header(arguments, output):
    """Of a protobuf answer all but its header, which is field 1."""
    if "protobuf" not in arguments or output[:1] != b"\x0a":
        return output
    return output[2 + output[1]:]


def test_formats(both):
    ours, theirs = both
    for arguments in FORMATS:
        left, right = (binary_etcdctl(member, *arguments) for member in (ours, theirs))
        assert left.returncode == right.returncode, (arguments, left, right)
        if "json" in arguments:
            assert [strip(json.loads(line)) for line in left.stdout.splitlines()] == [
                strip(json.loads(line)) for line in right.stdout.splitlines()], arguments
        elif "fields" in arguments:
            assert VOLATILE_FIELDS.sub("", left.stdout.decode()) == VOLATILE_FIELDS.sub(
                "", right.stdout.decode()), arguments
        else:
            assert without_header(arguments, left.stdout) == without_header(
                arguments, right.stdout), arguments


def binary_etcdctl(member, *arguments, stdin=b""):
    """As `etcdctl`, for output and input that are not text."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCD")}
    return subprocess.run(
        ["/usr/bin/etcdctl", f"--endpoints={member.endpoint}", *arguments],
        input=stdin, capture_output=True, env={**environment, "ETCDCTL_API": "3"}, timeout=60)


def test_binary_values(both):
    """Every byte value, through stdin, and back."""
    every = bytes(range(256)) * 40
    for member in both:
        assert binary_etcdctl(member, "put", "binary", stdin=every).stdout == b"OK\n"
        got = binary_etcdctl(member, "get", "binary", "--print-value-only").stdout
        assert got == every + b"\n"
        shown = binary_etcdctl(member, "get", "binary", "--hex", "--print-value-only").stdout
        assert shown.startswith(b"\\x00\\x01\\x02")
    left, right = (binary_etcdctl(m, "get", "binary", "-w", "json").stdout for m in both)
    assert strip(json.loads(left)) == strip(json.loads(right))


@pytest.mark.parametrize("form", ["simple", "table", "json", "fields"])
def test_tables_of_endpoints_and_members(both, form):
    """The same lines and columns as etcd; what they name differs."""
    for arguments in (["member", "list"], ["endpoint", "status"], ["endpoint", "hashkv"],
                      ["endpoint", "health"]):
        left, right = (binary_etcdctl(m, *arguments, "-w", form) for m in both)
        assert left.returncode == right.returncode == 0, (arguments, left, right)
        shape = [len(re.findall(rb"[,|:]", output)) if form != "json" else output.count(b'"')
                 for output in (left.stdout, right.stdout)]
        assert len(left.stdout.splitlines()) == len(right.stdout.splitlines()), (left, right)
        if form in ("simple", "table"):
            assert shape[0] == shape[1], (left.stdout, right.stdout)


def test_snapshot_status_and_restore(martlet, tmp_path):
    """etcdctl's own view of our snapshot: it is said to be a different format, or it is read."""
    path = tmp_path / "s.db"
    assert binary_etcdctl(martlet, "snapshot", "save", str(path)).returncode == 0
    assert path.stat().st_mode & 0o777 == 0o600
    twice = binary_etcdctl(martlet, "snapshot", "save", str(path))
    assert twice.returncode == 0, twice


@pytest.mark.skipif("MARTLET_LONG" not in os.environ, reason="a minute of load: set MARTLET_LONG")
def test_check_perf(martlet):
    done = etcdctl(martlet, "check", "perf", timeout=180, check=False)
    assert "PASS: Throughput" in done.stdout, done.stdout


def test_defrag_does_not_stop_traffic(martlet):
    etcdctl(martlet, "put", "before", "defrag")
    assert "Finished defragmenting" in etcdctl(martlet, "defrag").stdout
    assert etcdctl(martlet, "get", "before").stdout == "before\ndefrag\n"
