"""martletutl against etcd 3.4 and 3.5: what a store holds goes from etcd to Martlet and back.

A store that etcd wrote is imported, and a member of Martlet started on it; exported again and
restored by etcd's own tool, etcd is started on it. Every KeyValue is compared at several revisions, and
HashKV, leases, users and roles. MARTLET_LONG=1 does it with 100,000 keys, and reports times and
memory."""

import base64
import hashlib
import json
import os
import pathlib
import pty
import shutil
import signal
import subprocess
import sys
import time

import grpc
import pytest

from harness import ETCD_FOLDERS, Cluster, Member, etcd_program, etcdctl, martlet_binary

LONG = os.environ.get("MARTLET_LONG") == "1"
KEYS = 100_000 if LONG else 2000
ROOT_LOGIN = ["--user=root:root-password"]
RUN_SECONDS = 300


def martletutl(*arguments, check=True):
    """Runs martletutl; standard output and error are no terminals."""
    binary = str(pathlib.Path(martlet_binary()).parent / "martletutl")
    done = subprocess.run([binary, *map(str, arguments)], capture_output=True, text=True,
                          timeout=RUN_SECONDS)
    if check and done.returncode != 0:
        raise AssertionError(f"martletutl {' '.join(map(str, arguments))}: exit {done.returncode}\n"
                             f"{done.stdout}{done.stderr}")
    return done


def refused(*arguments, code=1):
    """What a command that must fail says on standard error; it must end like a person's error."""
    done = martletutl(*arguments, check=False)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert done.stderr.startswith("Error: "), done.stderr
    return done.stderr


class Api:
    """The calls of a generated client that fill a store quickly."""

    def __init__(self):
        import rpc_pb2
        import rpc_pb2_grpc
        self.pb, self.stubs = rpc_pb2, rpc_pb2_grpc

    def fill(self, member, keys):
        """Three rounds over `keys` keys, each round other values; deletions, and single puts."""
        pb = self.pb
        with grpc.insecure_channel(member.endpoint) as channel:
            kv = self.stubs.KVStub(channel)
            for round_number in range(3):
                for start in range(0, keys, 100):
                    kv.Txn(pb.TxnRequest(success=[
                        pb.RequestOp(request_put=pb.PutRequest(
                            key=b"key/%07d" % number,
                            value=b"%d-" % round_number + b"v" * (number % 180)))
                        for number in range(start, min(start + 100, keys))
                        if round_number == 0 or number % (round_number + 2) == 0]))
                kv.DeleteRange(pb.DeleteRangeRequest(
                    key=b"key/%07d" % (round_number * 100),
                    range_end=b"key/%07d" % (round_number * 100 + 50)))
            for number in range(40):
                kv.Put(pb.PutRequest(key=b"single/%d" % (number % 7), value=b"s%d" % number))
            kv.Put(pb.PutRequest(key=b"\x00binary\xff", value=bytes(range(256)) * 40))
            kv.DeleteRange(pb.DeleteRangeRequest(key=b"single/3"))
            return kv.Put(pb.PutRequest(key=b"last", value=b"")).header.revision


    def raise_alarm(self, member):
        """NOSPACE."""
        with grpc.insecure_channel(member.endpoint) as channel:
            self.stubs.MaintenanceStub(channel).Alarm(self.pb.AlarmRequest(action=1, alarm=1))


@pytest.fixture(scope="module")
def api(stubs):
    return Api()


@pytest.fixture(scope="module", params=sorted(ETCD_FOLDERS))
def release(request):
    """The release of etcd that a store comes from and goes back to."""
    return request.param


def set_up(api, member, keys, auth):
    """Fills a fresh etcd. Returns the revisions to compare at, and the leases' IDs."""
    first = api.fill(member, keys)
    etcdctl(member, "compaction", str(first // 2))
    leases = []
    for seconds in (3600, 100_000):
        lease = etcdctl(member, "lease", "grant", str(seconds)).stdout.split()[1]
        leases.append(lease)
        for number in range(3):
            etcdctl(member, "put", f"leased/{lease}/{number}", "x", f"--lease={lease}")
    for command in (
            "user add root:root-password", "user add reader:reader-password", "role add readers",
            "role grant-permission readers read key/ key0",
            "role grant-permission readers readwrite single/ --prefix=true",
            "user grant-role reader readers", "user grant-role root root"):
        etcdctl(member, *command.split())
    if auth:
        etcdctl(member, "auth", "enable")
        member.ctl_flags = ROOT_LOGIN
    last = etcdctl(member, "put", "after", "everything", "-w", "json")
    newest = json.loads(last.stdout)["header"]["revision"]
    return [first // 2, first // 2 + 1, first, newest - 1, newest], leases


def everything(member, revisions, leases):
    """All that clients can see of a store, apart from who serves it."""
    seen = {"pairs": {}}
    for revision in revisions:
        got = json.loads(etcdctl(member, "get", "", "--from-key", f"--rev={revision}", "-w", "json",
                                 timeout=120).stdout)
        assert got["header"]["revision"] == revisions[-1]
        seen["pairs"][revision] = got.get("kvs", [])
        assert len(seen["pairs"][revision]) > KEYS // 2
    compacted = etcdctl(member, "get", "last", f"--rev={revisions[0] - 1}", check=False)
    seen["compacted"] = "required revision has been compacted" in compacted.stderr
    hashed = json.loads(etcdctl(member, "endpoint", "hashkv", "-w", "json").stdout)[0]["HashKV"]
    seen["hash"] = (hashed["hash"], hashed["compact_revision"])
    seen["leases"] = sorted(etcdctl(member, "lease", "list").stdout.split("\n")[1:])
    for lease in leases:
        left = json.loads(
            etcdctl(member, "lease", "timetolive", lease, "--keys", "-w", "json").stdout)
        # What is left falls; it began as granted here and goes on from there.
        assert 0 < left["ttl"] <= left["granted-ttl"]
        seen[lease] = (left["granted-ttl"], sorted(left["keys"]))
    for question in ("user list", "role list", "user get root", "user get reader",
                     "role get readers"):
        seen[question] = etcdctl(member, *question.split()).stdout
    return seen


def check_logins(member, auth):
    """Passwords are still those, and permissions are checked exactly when they were."""
    def run(login, *arguments):
        member.ctl_flags = login
        return etcdctl(member, *arguments, check=False)

    before = member.ctl_flags
    try:
        reader = ["--user=reader:reader-password"]
        assert (run([], "get", "last").returncode == 0) == (not auth)
        if auth:
            assert run(reader, "get", "key/0000001").returncode == 0
            assert run(reader, "put", "single/1", "x").returncode == 0
            assert "permission denied" in run(reader, "put", "key/0000001", "x").stderr
            wrong = run(["--user=reader:wrong"], "get", "key/0000001")
            assert "authentication failed" in wrong.stderr, wrong.stderr
    finally:
        member.ctl_flags = before


def save(member, path):
    etcdctl(member, "snapshot", "save", str(path), timeout=120, release=member.release)
    return path


def served(kind, directory, auth=False, release="3.4"):
    """A member on a data directory that is there already."""
    (pathlib.Path(directory)).mkdir(exist_ok=True)
    member = Member(kind, data_dir=str(directory), name="default", release=release)
    if auth:
        member.ctl_flags = ROOT_LOGIN
    return member


def founding(member):
    """The flags that make a data directory for a member that the harness is going to start."""
    return [f"--data-dir={member.directory}/data", f"--name={member.name}",
            f"--initial-cluster={member.initial_cluster or f'{member.name}={member.peer_url}'}",
            f"--initial-advertise-peer-urls={member.peer_url}"]


# For tests to which it makes no difference where the store is from.
once = pytest.mark.parametrize("release", ["3.5"], indirect=True)


@pytest.mark.parametrize("auth", [False, True], ids=["open", "auth"])
def test_from_etcd_and_back(api, tmp_path, release, auth):
    if (release, auth) == ("3.4", True) and not LONG:
        pytest.skip("with 3.5 it is done, and the long form does both")
    # Every call of etcdctl logs in: with the usual cost of bcrypt that would be most of the test.
    with Member("etcd", ["--bcrypt-cost=4"], release=release) as etcd:
        revisions, leases = set_up(api, etcd, KEYS, auth)
        expected = everything(etcd, revisions, leases)
        snapshot = save(etcd, tmp_path / "etcd.db")

    member = served("martlet", tmp_path / "martlet", auth)
    measured("import", "migrate", "import", f"--snapshot={snapshot}", *founding(member))
    with member:
        assert everything(member, revisions, leases) == expected
        check_logins(member, auth)
        status = json.loads(etcdctl(member, "endpoint", "status", "-w", "json").stdout)[0]["Status"]
        newest = status["header"]["revision"]
        after = revisions[:4] + [newest]
        expected = everything(member, after, leases)
        assert member.stop() == 0

    hashed = json.loads(
        martletutl("hashkv", f"--data-dir={member.directory}/data", "-w", "json").stdout)
    assert (hashed["hash"], hashed["compactRevision"]) == expected["hash"]
    assert hashed["hashRevision"] == newest

    exported = tmp_path / "exported.db"
    measured("export", "migrate", "export", f"--data-dir={member.directory}/data",
             f"--output={exported}")
    assert os.path.getsize(exported) % 512 == 32
    ours = martletutl("snapshot", "status", exported, "-w", "json").stdout
    assert ours == offline(release, "snapshot", "status", exported, "-w", "json").stdout
    back = served("etcd", tmp_path / "back", auth, release)
    offline(release, "snapshot", "restore", exported, *founding(back))
    with back:
        assert everything(back, after, leases) == expected
        check_logins(back, auth)
        if not auth:
            check_writes(api, back, tmp_path)


def check_writes(api, etcd, tmp_path):
    """etcd goes on with the pages that were exported: it splits, frees and moves them, and what it
    makes of them is sound."""
    newest = api.fill(etcd, 600)
    etcdctl(etcd, "compaction", str(newest), "--physical")
    etcdctl(etcd, "defrag")
    saved = save(etcd, tmp_path / "written.db")
    theirs = offline(etcd.release, "snapshot", "status", saved, "-w", "json").stdout
    assert martletutl("snapshot", "status", saved, "-w", "json").stdout == theirs


def offline(release, *arguments, check=True):
    """Runs a release's own tool for snapshots: etcdctl, and since 3.5 etcdutl."""
    tool = etcd_program("etcdctl" if release == "3.4" else "etcdutl", release)
    done = subprocess.run([tool, *map(str, arguments)], capture_output=True, text=True,
                          env=dict(os.environ, ETCDCTL_API="3"), timeout=RUN_SECONDS)
    assert not check or done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done


# Runs a command and says how much memory it had at most. In a process of its own: a child counts
# with the memory of the one that it was forked from.
MEASURE = """
import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
print("peak", usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def measured(what, *arguments):
    """Runs martletutl; with MARTLET_LONG it says how long that took and how much memory."""
    binary = str(pathlib.Path(martlet_binary()).parent / "martletutl")
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", MEASURE, binary, *map(str, arguments)],
                          capture_output=True, text=True, timeout=RUN_SECONDS)
    seconds = time.monotonic() - start
    assert done.returncode == 0, (done.stdout, done.stderr)
    if LONG:
        peak = int(done.stdout.split()[-1]) // 1024
        print(f"\n{what} of {KEYS} keys: {seconds:.2f} s, resident {peak} MiB")


@pytest.fixture(scope="module")
def small(tmp_path_factory, api, release):
    """A small snapshot of etcd's, and what is in it. Beside it is the database file `db` of the same
    member, stopped after an alarm was raised."""
    folder = tmp_path_factory.mktemp("small")
    with Member("etcd", release=release) as etcd:
        for number in range(30):
            etcdctl(etcd, "put", f"k{number % 9}", f"value {number}")
        etcdctl(etcd, "del", "k0")
        etcdctl(etcd, "compaction", "10")
        etcdctl(etcd, "put", "k1", "v" * 30_000)
        got = json.loads(etcdctl(etcd, "get", "", "--from-key", "-w", "json").stdout)
        hashed = json.loads(etcdctl(etcd, "endpoint", "hashkv", "-w", "json").stdout)[0]["HashKV"]
        snapshot = save(etcd, folder / "small.db")
        api.raise_alarm(etcd)
        etcd.stop()
        shutil.copy(f"{etcd.directory}/data/member/snap/db", folder / "db")
        return snapshot, got, hashed


def test_a_database_file_is_taken_too(small, tmp_path):
    """With --skip-hash-check, as etcd's tools have it: there is no SHA-256 behind it."""
    snapshot, expected, hashed = small
    database = tmp_path / "data/member/snap/db"
    database.parent.mkdir(parents=True)
    shutil.copy(snapshot.parent / "db", database)
    # The hole at its end, which etcd makes to grow into, is not read.
    os.truncate(database, 1 << 40)
    member = served("martlet", tmp_path / "m")
    said = refused("migrate", "import", f"--snapshot={tmp_path}/data", *founding(member))
    assert f"{database} is taken with --skip-hash-check" in said
    said = refused("migrate", "import", f"--snapshot={database}", *founding(member))
    assert "snapshot missing hash but --skip-hash-check=false" in said
    done = martletutl("migrate", "import", f"--snapshot={database}", "--skip-hash-check",
                      *founding(member))
    assert "note: 1 alarms of the old cluster are not taken over" in done.stderr
    with member:
        got = json.loads(etcdctl(member, "get", "", "--from-key", "-w", "json").stdout)
        assert got["kvs"] == expected["kvs"]
        ours = json.loads(etcdctl(member, "endpoint", "hashkv", "-w", "json").stdout)[0]["HashKV"]
        assert ours["hash"] == hashed["hash"]
        assert etcdctl(member, "alarm", "list").stdout == ""


@once
def test_three_members_restore_one_file(small, tmp_path):
    snapshot, expected, hashed = small
    cluster = Cluster("martlet")
    try:
        for member in cluster.members:
            token = next(f for f in member.flags if f.startswith("--initial-cluster-token"))
            martletutl("migrate", "import", f"--snapshot={snapshot}", token, *founding(member))
        cluster.start()
        leader = cluster.leader()
        for member in cluster.members:
            got = json.loads(etcdctl(member, "get", "", "--from-key", "-w", "json").stdout)
            assert got["kvs"] == expected["kvs"]
            theirs = json.loads(
                etcdctl(member, "endpoint", "hashkv", "-w", "json").stdout)[0]["HashKV"]
            assert theirs["hash"] == hashed["hash"]
        assert sorted(row["name"] for row in cluster.member_list()) == ["m1", "m2", "m3"]
        etcdctl(leader, "put", "together", "yes")
        for member in cluster.members:
            assert etcdctl(member, "get", "together").stdout == "together\nyes\n"

        lease = etcdctl(leader, "lease", "grant", "5000").stdout.split()[1]
        etcdctl(leader, "put", "leased", "x", f"--lease={lease}")
        # A snapshot of this cluster, restored by a new one of three.
        taken = save(leader, tmp_path / "martlet.snapshot")
        status = json.loads(martletutl("snapshot", "status", taken, "-w", "json").stdout)
        assert status["revision"] == expected["header"]["revision"] + 2
    finally:
        cluster.close()
    second = Cluster("martlet")
    try:
        for member in second.members:
            token = next(f for f in member.flags if f.startswith("--initial-cluster-token"))
            martletutl("snapshot", "restore", taken, token, *founding(member),
                       "--bump-revision=1000000000", "--mark-compacted")
        second.start()
        for member in second.members:
            got = json.loads(etcdctl(member, "get", "together", "-w", "json").stdout)
            assert base64.b64decode(got["kvs"][0]["value"]) == b"yes"
            assert got["header"]["revision"] == status["revision"] + 1_000_000_000
            old = etcdctl(member, "get", "together", f"--rev={status['revision']}", check=False)
            assert "required revision has been compacted" in old.stderr
        left = json.loads(etcdctl(second.members[0], "lease", "timetolive", lease, "--keys", "-w",
                                  "json").stdout)
        assert left["granted-ttl"] == 5000 and left["ttl"] > 0
        assert [base64.b64decode(key) for key in left["keys"]] == [b"leased"]
        put = json.loads(etcdctl(second.members[0], "put", "k", "v", "-w", "json").stdout)
        assert put["header"]["revision"] == status["revision"] + 1_000_000_001
    finally:
        second.close()


BUMP = ["--bump-revision=1000000", "--mark-compacted"]


@once
def test_raised_revisions_stay_raised(small, tmp_path):
    """Whoever raised them, what comes after goes on from there, and nothing before is to be had."""
    snapshot, expected, _ = small
    before = expected["header"]["revision"]

    def check(member):
        with member:
            got = json.loads(etcdctl(member, "get", "", "--from-key", "-w", "json").stdout)
            assert got["kvs"] == expected["kvs"]
            assert got["header"]["revision"] == before + 1_000_000
            old = etcdctl(member, "get", "k1", f"--rev={before}", check=False)
            assert "required revision has been compacted" in old.stderr
            hashed = json.loads(
                etcdctl(member, "endpoint", "hashkv", "-w", "json").stdout)[0]["HashKV"]
            saved = save(member, tmp_path / f"{pathlib.Path(member.directory).name}.db")
            put = json.loads(etcdctl(member, "put", "next", "x", "-w", "json").stdout)
            assert put["header"]["revision"] == before + 1_000_001
        return saved, hashed["hash"]

    # etcdutl raises it, etcd goes on, Martlet takes that over.
    theirs = served("etcd", tmp_path / "theirs", release="3.5")
    offline("3.5", "snapshot", "restore", snapshot, *BUMP, *founding(theirs))
    saved, _ = check(theirs)
    taken = served("martlet", tmp_path / "taken")
    martletutl("migrate", "import", f"--snapshot={saved}", *founding(taken))
    check(taken)

    # martletutl raises it, and it goes back to etcd, from a member that has run since and from one
    # that has not.
    ours = served("martlet", tmp_path / "ours")
    martletutl("migrate", "import", f"--snapshot={snapshot}", *BUMP, *founding(ours))
    data = f"--data-dir={ours.directory}/data"
    martletutl("migrate", "export", data, f"--output={tmp_path}/untouched.db")
    with ours:
        assert ours.stop() == 0
    martletutl("migrate", "export", data, f"--output={tmp_path}/started.db")
    _, hashed = check(ours)
    for release in sorted(ETCD_FOLDERS):
        for name in ("untouched", "started"):
            back = served("etcd", tmp_path / f"{name}-{release}", release=release)
            offline(release, "snapshot", "restore", tmp_path / f"{name}.db", *founding(back))
            assert check(back)[1] == hashed

    # etcdutl raises it as it restores what martletutl exported.
    plain = served("martlet", tmp_path / "plain")
    martletutl("migrate", "import", f"--snapshot={snapshot}", *founding(plain))
    martletutl("migrate", "export", f"--data-dir={plain.directory}/data",
               f"--output={tmp_path}/plain.db")
    raised = served("etcd", tmp_path / "raised", release="3.5")
    offline("3.5", "snapshot", "restore", tmp_path / "plain.db", *BUMP, *founding(raised))
    check(raised)


def test_members_of_etcd_are_replaced_in_place(tmp_path, release):
    """With --keep-members the new members have the IDs, names and peer URLs of the old ones."""
    ours = []
    try:
        with Cluster("etcd", release=release) as theirs:
            etcdctl(theirs.leader(), "put", "kept", "yes")
            before = sorted((row["ID"], row["name"], row["peerURLs"])
                            for row in theirs.member_list())
            snapshot = save(theirs.members[0], tmp_path / "etcd.db")
            for old in theirs.members:
                old.stop()
                new = Member("martlet", name=old.name)
                new.port, new.peer_port = old.port, old.peer_port
                new.initial_cluster = old.initial_cluster
                ours.append(new)
        for member in ours:
            martletutl("migrate", "import", f"--snapshot={snapshot}", "--keep-members",
                       f"--name={member.name}", f"--data-dir={member.directory}/data")
            member.start(wait=False)
        for member in ours:
            member.wait_until_healthy()
        rows = json.loads(etcdctl(ours[0], "member", "list", "-w", "json").stdout)["members"]
        assert sorted((row["ID"], row["name"], row["peerURLs"]) for row in rows) == before
        for member in ours:
            assert etcdctl(member, "get", "kept").stdout == "kept\nyes\n"
    finally:
        for member in ours:
            member.close()


@once
def test_a_member_without_the_snapshot_gets_it_from_the_others(small):
    """Founders of a restored cluster that come with nothing must not begin with an empty store."""
    snapshot, expected, _ = small
    cluster = Cluster("martlet")
    try:
        for member in cluster.members[:2]:
            token = next(f for f in member.flags if f.startswith("--initial-cluster-token"))
            martletutl("migrate", "import", f"--snapshot={snapshot}", token, *founding(member))
        cluster.start()
        cluster.leader()
        late = cluster.members[2]
        got = json.loads(etcdctl(late, "get", "", "--from-key", "-w", "json").stdout)
        assert got["kvs"] == expected["kvs"]
    finally:
        cluster.close()


def test_status_prints_what_etcds_tool_prints(small, release):
    snapshot, _, _ = small
    for form in ("simple", "table", "json", "fields"):
        theirs = offline(release, "snapshot", "status", snapshot, "-w", form).stdout
        assert martletutl("snapshot", "status", snapshot, "-w", form).stdout == theirs
        assert martletutl("-w", form, "snapshot", "status", snapshot).stdout == theirs
    done = martletutl("snapshot", "status", snapshot, "-w", "protobuf", check=False)
    assert (done.returncode, done.stderr) == (
        4, "Error: protobuf not supported as output format\n")
    assert martletutl("snapshot", "status", check=False).returncode == 128
    assert martletutl("snapshot", "nonsense", check=False).returncode == 1


def test_hashkv_of_files_is_that_of_the_server(small):
    snapshot, got, hashed = small
    done = json.loads(martletutl("hashkv", snapshot, "-w", "json").stdout)
    assert done == {"hash": hashed["hash"], "hashRevision": got["header"]["revision"],
                    "compactRevision": hashed["compact_revision"]}
    for revision in (11, 20, got["header"]["revision"]):
        done = json.loads(martletutl("hashkv", snapshot, f"--rev={revision}", "-w", "json").stdout)
        assert done["hashRevision"] == revision


def test_damaged_and_other_files_are_refused(small, tmp_path):
    snapshot, _, _ = small
    whole = snapshot.read_bytes()

    def file(name, content):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    target = tmp_path / "target"
    ours = ["--data-dir", target]
    cases = [
        (file("empty", b""), "the file is empty"),
        (file("text", b"this is no database\n" * 1000), "neither a snapshot of etcd nor one of"),
        (file("cut", whole[:-4096]), "expected sha256"),
        (file("bare", whole[:-32]), "snapshot missing hash but --skip-hash-check=false"),
        (file("flipped", whole[:9000] + bytes([whole[9000] ^ 1]) + whole[9001:]),
         "expected sha256"),
        (tmp_path / "absent", "No such file or directory"),
        (tmp_path, "is a directory"),
    ]
    for path, reason in cases:
        for command in (["migrate", "import", "--snapshot", path], ["snapshot", "restore", path]):
            if path.name in ("cut", "bare", "flipped") and command[0] == "snapshot":
                continue
            said = refused(*command, *ours)
            assert reason in said, (path, said)
            assert not target.exists()
    said = refused("migrate", "import", "--snapshot", file("half", whole[:len(whole) // 2]), *ours,
                   "--skip-hash-check")
    assert "the file was cut short" in said
    # Pages that say that they are other pages, behind a checksum that holds.
    torn = bytearray(whole[:-32])
    for page in range(2, len(torn) // 4096):
        torn[page * 4096] ^= 0x40
    torn = file("torn", bytes(torn) + hashlib.sha256(torn).digest())
    for command in (["migrate", "import", "--snapshot", torn, *ours], ["snapshot", "status", torn],
                    ["hashkv", torn]):
        assert "damaged" in refused(*command)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "bare", "cut", "empty", "flipped", "half", "text", "torn"]
    said = refused("snapshot", "restore", snapshot, *ours)
    assert "is a snapshot of etcd: `martletutl migrate import" in said


@once
def test_a_running_member_keeps_its_directory(small, tmp_path):
    snapshot, _, hashed = small
    member = served("martlet", tmp_path / "m")
    martletutl("migrate", "import", f"--snapshot={snapshot}", *founding(member))
    data = f"--data-dir={member.directory}/data"
    with member:
        for command in (["defrag"], ["hashkv"], ["log"], ["db", "stats"],
                        ["migrate", "export", f"--output={tmp_path}/x"]):
            assert "in use by another process" in refused(*command, data)
        assert "not empty" in refused("migrate", "import", f"--snapshot={snapshot}", data)
        etcdctl(member, "put", "more", "data")
        own = save(member, tmp_path / "own.snapshot")
        assert "is a snapshot of Martlet: `martletutl snapshot restore" in refused(
            "migrate", "import", f"--snapshot={own}", f"--data-dir={tmp_path}/y")
        flipped = own.read_bytes()
        flipped = flipped[:5000] + bytes([flipped[5000] ^ 1]) + flipped[5001:]
        (tmp_path / "flipped").write_bytes(flipped)
        assert "expected sha256" in refused("snapshot", "restore", tmp_path / "flipped",
                                            f"--data-dir={tmp_path}/y")
        assert member.stop() == 0
    martletutl("migrate", "export", data, f"--output={tmp_path}/x")
    done = json.loads(martletutl("hashkv", tmp_path / "x", "-w", "json").stdout)
    same = json.loads(martletutl("hashkv", own, "-w", "json").stdout)
    assert done == same
    assert done["hash"] != hashed["hash"]


def test_what_only_the_log_has_is_not_left_out(tmp_path):
    with Member("martlet") as member:
        etcdctl(member, "put", "late", "data")
        member.kill()
        data = f"--data-dir={member.directory}/data"
        said = refused("migrate", "export", data, f"--output={tmp_path}/x")
        assert "requests that are not in its store yet" in said
        assert "not hashed" in martletutl("hashkv", data).stderr
        assert not list(tmp_path.iterdir())
        member.start()
        assert member.stop() == 0
        martletutl("migrate", "export", data, f"--output={tmp_path}/x")
        shown = martletutl("db", "keys", f"--snapshot={tmp_path}/x", "--prefix=late").stdout
        assert shown == "late\ndata\n"


@once
def test_inspection(small, tmp_path):
    snapshot, expected, _ = small
    member = served("martlet", tmp_path / "m")
    martletutl("migrate", "import", f"--snapshot={snapshot}", f"--wal-dir={member.directory}/logs",
               *founding(member))
    data = f"--data-dir={member.directory}/data"
    with member:
        etcdctl(member, "put", "more", "data")
        etcdctl(member, "lease", "grant", "1000")
        assert member.stop() == 0
    lines = [json.loads(line) for line in martletutl("log", data, "-w", "json").stdout.splitlines()]
    requests = [line["request"] for line in lines if line["kind"] == "entry"]
    assert "put" in requests and "leaseGrant" in requests
    indexes = [line["index"] for line in lines if line["kind"] == "entry"]
    assert indexes == sorted(indexes)
    one = martletutl("log", data, f"--from={indexes[-1]}", f"--to={indexes[-1]}").stdout
    assert [line.split("\t")[1] for line in one.splitlines() if line.startswith("entry")] == [
        str(indexes[-1])]

    stats = json.loads(martletutl("db", "stats", data, "-w", "json").stdout)
    assert stats["revision"] == expected["header"]["revision"] + 1
    assert (stats["leases"], stats["unapplied"], stats["members"]) == (1, 0, 1)
    of_etcd = json.loads(martletutl("db", "stats", f"--snapshot={snapshot}", "-w", "json").stdout)
    assert of_etcd["revision"] == expected["header"]["revision"]
    assert of_etcd["storedRevisions"] == stats["storedRevisions"] - 1
    keys = [json.loads(line) for line in martletutl(
        "db", "keys", data, f"--rev={expected['header']['revision']}", "-w", "json"
    ).stdout.splitlines()]
    assert keys == expected["kvs"]
    assert martletutl("db", "keys", data, "--prefix=more").stdout == "more\ndata\n"
    assert "has been compacted" in refused("db", "keys", data, "--rev=2")
    assert "mvcc.state" in martletutl("db", "metadata", data).stdout

    before = martletutl("hashkv", data).stdout
    assert "Finished defragmenting" in martletutl("defrag", data).stdout
    assert martletutl("hashkv", data).stdout == before
    with member:
        assert etcdctl(member, "get", "more").stdout == "more\ndata\n"
        assert member.stop() == 0
    # A bit that flips in the log's middle is found, and named.
    segment = max((pathlib.Path(member.directory) / "logs").glob("*.log"))
    content = bytearray(segment.read_bytes())
    content[4096 + 40] ^= 1
    segment.write_bytes(content)
    assert str(segment.name) in refused("log", data)


@once
def test_progress_is_for_terminals(small, tmp_path):
    snapshot, _, _ = small
    done = martletutl("migrate", "import", f"--snapshot={snapshot}", f"--data-dir={tmp_path}/a")
    assert "\r" not in done.stderr + done.stdout
    ours, theirs = pty.openpty()
    binary = str(pathlib.Path(martlet_binary()).parent / "martletutl")
    process = subprocess.Popen(
        [binary, "migrate", "import", f"--snapshot={snapshot}", f"--data-dir={tmp_path}/b"],
        stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:
            break
        if not piece:
            break
        seen += piece
    os.close(ours)
    assert process.wait(RUN_SECONDS) == 0
    assert b"verifying [" in seen and b"importing [" in seen, seen


@once
def test_an_interrupted_import_leaves_all_or_nothing(small, tmp_path):
    snapshot, _, _ = small
    binary = str(pathlib.Path(martlet_binary()).parent / "martletutl")
    for milliseconds in (0, 1, 2, 4, 8, 16, 32, 64):
        target = tmp_path / f"after-{milliseconds}"
        target.mkdir()
        process = subprocess.Popen(
            [binary, "migrate", "import", f"--snapshot={snapshot}", f"--data-dir={target}/data"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # Whenever it comes: there is no right moment to wait for.
        time.sleep(milliseconds / 1000)
        process.send_signal(signal.SIGINT)
        code = process.wait(RUN_SECONDS)
        left = [entry.name for entry in target.iterdir()]
        assert (code, left) in ((0, ["data"]), (-signal.SIGINT, [])), (milliseconds, code, left)
