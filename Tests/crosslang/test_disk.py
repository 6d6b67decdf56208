"""Disks that are full, data that is damaged, directories that belong to somebody else, processes
that are paused: nothing acknowledged is lost, and each refusal names what is wrong."""

import os
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import grpc
import pytest

from harness import Member, etcdctl

MEBIBYTE = 1 << 20
FULL_DISK_MEBIBYTES = 420
REFUSAL_SECONDS = 60


@pytest.fixture(scope="module")
def api(stubs):
    import rpc_pb2
    import rpc_pb2_grpc
    return rpc_pb2, rpc_pb2_grpc


@pytest.fixture
def small_disk():
    """A directory on a small disk of its own."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small tmpfs")
    path = tempfile.mkdtemp(prefix="martlet-test-disk-")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={FULL_DISK_MEBIBYTES}m", "tmpfs", path],
        capture_output=True, text=True)
    if mounted.returncode != 0:
        os.rmdir(path)
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=False)
        shutil.rmtree(path, ignore_errors=True)


def fill(directory):
    """Takes all the space that is left; returns the file to remove."""
    path = os.path.join(directory, "filler")
    with open(path, "wb", buffering=0) as file:
        for size in (MEBIBYTE, 4096):
            try:
                while True:
                    file.write(b"f" * size)
            except OSError:
                pass
    return path


def put_until_refused(kv, pb, acknowledged, start, limit, timeout):
    """Puts large values until one is not acknowledged; returns that error, or None."""
    for number in range(start, start + limit):
        value = b"%d/" % number + os.urandom(700_000)
        try:
            kv.Put(pb.PutRequest(key=b"full/%05d" % number, value=value), timeout=timeout)
        except grpc.RpcError as error:
            return number, error
        acknowledged[number] = value[:20]
    return start + limit, None


def check_acknowledged(kv, pb, acknowledged):
    for number, start in acknowledged.items():
        answer = kv.Range(pb.RangeRequest(key=b"full/%05d" % number), timeout=60)
        assert answer.kvs and answer.kvs[0].value[:20] == start, f"put {number} is lost"


def test_full_disk(api, small_disk):
    """Nothing is acknowledged that is not on disk; reads go on; freed space is enough to go on."""
    pb, grpc_ = api
    member = Member("martlet", data_dir=small_disk)
    acknowledged = {}
    try:
        member.start()
        with grpc.insecure_channel(member.endpoint) as channel:
            kv = grpc_.KVStub(channel)
            kv.Put(pb.PutRequest(key=b"early", value=b"there"))
            filler = fill(small_disk)
            number, error = put_until_refused(kv, pb, acknowledged, 0, 600, timeout=10)
            assert error is not None, "600 large puts went through on a full disk"
            assert error.code() in (
                grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE,
                grpc.StatusCode.RESOURCE_EXHAUSTED), error
            for attempt in range(3):
                with pytest.raises(grpc.RpcError):
                    kv.Put(pb.PutRequest(key=b"late", value=b"x" * 500_000), timeout=1)
            early = kv.Range(pb.RangeRequest(key=b"early", serializable=True), timeout=60)
            assert early.kvs[0].value == b"there"
            assert member.process.poll() is None, member.log()
            os.remove(filler)
            recovered = time.monotonic() + 120
            while True:
                try:
                    kv.Put(pb.PutRequest(key=b"again", value=b"works"), timeout=10)
                    break
                except grpc.RpcError as error:
                    assert time.monotonic() < recovered, f"{error}\n{member.log()}"
                    time.sleep(0.1)
            check_acknowledged(kv, pb, acknowledged)
            assert kv.Range(pb.RangeRequest(key=b"early"), timeout=60).kvs[0].value == b"there"
        member.kill()
        member.start()
        with grpc.insecure_channel(member.endpoint) as channel:
            check_acknowledged(grpc_.KVStub(channel), pb, acknowledged)
        assert member.stop() == 0
    finally:
        member.close()


def test_full_disk_and_then_a_kill(api, small_disk):
    """Killed while the disk is full, started again with space: all that was acknowledged is there,
    and a start on the full disk ends with a reason or serves, but does not damage."""
    pb, grpc_ = api
    member = Member("martlet", data_dir=small_disk)
    acknowledged = {}
    try:
        member.start()
        filler = fill(small_disk)
        with grpc.insecure_channel(member.endpoint) as channel:
            put_until_refused(grpc_.KVStub(channel), pb, acknowledged, 0, 600, timeout=10)
        member.kill()
        member.start(wait=False)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and member.process.poll() is None \
                and not member.is_healthy():
            time.sleep(0.05)
        if member.process.poll() is not None:
            assert member.process.returncode > 0, member.log()
            assert "space" in member.log()
        member.close()
        os.remove(filler)
        member.start()
        with grpc.insecure_channel(member.endpoint) as channel:
            kv = grpc_.KVStub(channel)
            check_acknowledged(kv, pb, acknowledged)
            kv.Put(pb.PutRequest(key=b"again", value=b"works"), timeout=60)
    finally:
        member.close()


def test_paused_process(api):
    """SIGSTOP and SIGCONT: what was sent meanwhile is answered, nothing is lost."""
    pb, grpc_ = api
    with Member("martlet") as member, grpc.insecure_channel(member.endpoint) as channel:
        kv = grpc_.KVStub(channel)
        kv.Put(pb.PutRequest(key=b"p", value=b"0"))
        for round_ in range(3):
            member.process.send_signal(signal.SIGSTOP)
            calls = [kv.Put.future(pb.PutRequest(key=b"p/%d" % n, value=b"%d" % round_), timeout=60)
                     for n in range(50)]
            time.sleep(1.2)  # Longer than an election timeout.
            member.process.send_signal(signal.SIGCONT)
            for call in calls:
                assert call.result().header.revision > 0
            answer = kv.Range(pb.RangeRequest(key=b"p/", range_end=b"p0"), timeout=60)
            assert [pair.value for pair in answer.kvs] == [b"%d" % round_] * 50
        assert member.stop() == 0


def refused(member):
    """Starts a member that must refuse to; returns what it says."""
    member.start(wait=False)
    try:
        code = member.process.wait(REFUSAL_SECONDS)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"it runs:\n{member.log()}")
    finally:
        if member.process.poll() is None:
            member.kill()
    assert code > 0, f"ended with {code}\n{member.log()}"
    return member.log()


def test_second_process_is_refused():
    with Member("martlet") as first:
        second = Member("martlet", data_dir=first.directory)
        second.log_name = "second.log"
        text = refused(second)
        assert "in use" in text and first.directory in text
        etcdctl(first, "put", "still", "here")


def test_etcds_directory_is_refused(tmp_path):
    with Member("etcd") as etcd:
        etcdctl(etcd, "put", "k", "v")
        etcd.stop()
        before = sorted(str(p) for p in pathlib.Path(etcd.directory, "data").rglob("*"))
        ours = Member("martlet", data_dir=etcd.directory)
        text = refused(ours)
        assert "etcd data directory" in text
        assert before == sorted(str(p) for p in pathlib.Path(etcd.directory, "data").rglob("*"))


def test_other_directories(tmp_path):
    """A file in its place, one without rights to it: an error that names it."""
    file = tmp_path / "plain"
    file.mkdir()
    (file / "data").write_text("not a directory")
    assert str(file / "data") in refused(Member("martlet", data_dir=str(file)))
    gone = tmp_path / "gone"
    gone.mkdir()
    os.symlink("/proc/nothing/here", gone / "data")
    assert "data" in refused(Member("martlet", data_dir=str(gone)))


def written_member(api, count=300):
    """A member that has `count` puts in its log, stopped by a kill so that the log is needed."""
    pb, grpc_ = api
    member = Member("martlet")
    member.start()
    with grpc.insecure_channel(member.endpoint) as channel:
        kv = grpc_.KVStub(channel)
        for number in range(count):
            kv.Put(pb.PutRequest(key=b"k%04d" % number, value=b"v" * 400))
    member.kill()
    return member


def frames(path):
    """(offset, length with padding) of the frames of a segment (Sources/Log/FORMAT.md)."""
    content = path.read_bytes()
    offset, found = 4096, []
    while content[offset:offset + 4] == b"MLFR":
        size = 32 + (int.from_bytes(content[offset + 4:offset + 8], "little") + 7) // 8 * 8
        found.append((offset, size))
        offset += size
    return found


def first_segment(member):
    return min(pathlib.Path(member.directory, "data/member/log").glob("*.log"))


def patch(path, offset, change):
    with open(path, "r+b") as file:
        file.seek(offset)
        old = file.read(1)
        file.seek(offset)
        file.write(bytes([change(old[0])]))


@pytest.mark.parametrize("part", ["payload", "header"])
def test_flipped_bit_in_the_middle_of_the_log(api, part):
    member = written_member(api)
    try:
        segment = first_segment(member)
        found = frames(segment)
        assert len(found) > 100, "the log has too few frames for this test"
        offset, _ = found[len(found) // 2]
        patch(segment, offset + (40 if part == "payload" else 17), lambda byte: byte ^ 4)
        damaged = segment.read_bytes()
        text = refused(member)
        assert segment.name in text and str(offset) in text, text
        assert segment.read_bytes() == damaged, "a refused start changed the log"
        patch(segment, offset + (40 if part == "payload" else 17), lambda byte: byte ^ 4)
        member.start()
        assert "k0299" in etcdctl(member, "get", "k0299").stdout
    finally:
        member.close()


def test_torn_tail_of_the_log(api):
    """The last frame is half there: it starts, without at most what that frame had."""
    member = written_member(api)
    try:
        segment = first_segment(member)
        offset, size = frames(segment)[-1]
        with open(segment, "r+b") as file:
            file.seek(offset + size // 2)
            file.write(b"\0" * (size - size // 2))
        member.start()
        assert "k0298" in etcdctl(member, "get", "k0298").stdout
        etcdctl(member, "put", "after", "the tear")
        member.kill()
        member.start()
        assert etcdctl(member, "get", "after").stdout == "after\nthe tear\n"
    finally:
        member.close()


@pytest.mark.parametrize("damage", ["magic", "emptied", "cut", "removed"])
def test_damaged_segment_file(api, damage):
    """Damage to the file as a whole, which no crash does: refused."""
    member = written_member(api)
    try:
        segment = first_segment(member)
        if damage == "magic":
            patch(segment, 3, lambda byte: byte ^ 1)
        elif damage == "emptied":
            segment.write_bytes(b"")
        elif damage == "cut":
            os.truncate(segment, frames(segment)[50][0] + 11)
        else:
            segment.unlink()
        text = refused(member)
        assert "log" in text, text
    finally:
        member.close()


@pytest.mark.parametrize("name", ["IDENTITY", "db/store.mdb"])
def test_damaged_files_beside_the_log(api, name):
    member = written_member(api, count=30)
    try:
        path = pathlib.Path(member.directory, "data/member", name)
        content = path.read_bytes()
        cases = [b"\xff" * max(len(content), 8192), content[:len(content) // 3]]
        if name == "IDENTITY":
            cases.append(b"")  # An empty store is filled again from a log that is whole.
        for bad in cases:
            path.write_bytes(bad)
            text = refused(member)
            assert path.name in text or str(path.parent) in text, text
        path.write_bytes(content)
        member.start()
        assert "k0029" in etcdctl(member, "get", "k0029").stdout
    finally:
        member.close()


def test_lost_store_behind_a_shortened_log(api):
    """The store's file is gone and the log no longer reaches back to its first entry: refused."""
    pb, grpc_ = api
    member = Member("martlet", ["--snapshot-count=100", "--snapshot-catchup-entries=10"])
    try:
        member.start()
        with grpc.insecure_channel(member.endpoint) as channel:
            kv = grpc_.KVStub(channel)
            for number in range(400):
                kv.Put(pb.PutRequest(key=b"k%04d" % number, value=b"v" * 400_000))
        member.stop()
        folder = pathlib.Path(member.directory, "data/member")
        if first_segment(member).name == "0000000000000001.log":
            pytest.skip("the log was not shortened")
        for path in (folder / "db").iterdir():
            path.unlink()
        text = refused(member)
        assert "log" in text or "store" in text, text
    finally:
        member.close()


def test_stop_under_load(api):
    """SIGTERM under load from many connections: exit code 0, soon."""
    pb, grpc_ = api
    member = Member("martlet").start()
    stopped = threading.Event()

    def load(number):
        with grpc.insecure_channel(
                member.endpoint, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            kv = grpc_.KVStub(channel)
            while not stopped.is_set():
                try:
                    kv.Put(pb.PutRequest(key=b"load/%d" % number, value=b"x" * 5000), timeout=60)
                    kv.Range(pb.RangeRequest(key=b"load/", range_end=b"load0"), timeout=60)
                except grpc.RpcError:
                    return
    threads = [threading.Thread(target=load, args=(n,)) for n in range(12)]
    try:
        for thread in threads:
            thread.start()
        time.sleep(1)
        begin = time.monotonic()
        assert member.stop() == 0, member.log()
        print(f"stopped under load in {time.monotonic() - begin:.1f} s")
    finally:
        stopped.set()
        member.close()
        for thread in threads:
            thread.join()


def test_flipped_bits_anywhere_in_the_log(api, tmp_path):
    """One bit anywhere in what was written: refused with the file's name, or a start that has all
    but (at most) the last synced batches, which cannot be told from torn ones. Never fewer keys,
    never a wrong value, never a crash."""
    pb, grpc_ = api
    rounds = int(os.environ.get("MARTLET_FLIPS", "12"))
    seed = int(os.environ.get("MARTLET_SEED", time.time_ns() % 1_000_000))
    print(f"seed {seed}: rerun with MARTLET_SEED={seed}")
    rng = random.Random(seed)
    member = written_member(api, count=60)
    kept = tmp_path / "kept"
    shutil.copytree(os.path.join(member.directory, "data"), kept)
    data = pathlib.Path(member.directory, "data")
    try:
        name = first_segment(member).name
        last = frames(first_segment(member))[-1]
        refusals = 0
        for round_ in range(rounds):
            shutil.rmtree(data)
            shutil.copytree(kept, data)
            # The header's unused bytes and what follows the last frame mean nothing.
            offset = rng.choice([rng.randrange(36), rng.randrange(4096, sum(last)),
                                 rng.randrange(4096, sum(last))])
            bit = 1 << rng.randrange(8)
            patch(first_segment(member), offset, lambda byte: byte ^ bit)
            context = f"seed {seed} round {round_}: bit {bit} at {offset}, frames end at {last}"
            member.start(wait=False)
            deadline = time.monotonic() + REFUSAL_SECONDS
            while member.process.poll() is None and not member.is_healthy():
                assert time.monotonic() < deadline, context
                time.sleep(0.01)
            if member.process.poll() is not None:
                refusals += 1
                assert member.process.returncode > 0, context + member.log()
                assert name in member.log(), context + member.log()
                continue
            with grpc.insecure_channel(member.endpoint) as channel:
                pairs = grpc_.KVStub(channel).Range(
                    pb.RangeRequest(key=b"k", range_end=b"l"), timeout=20).kvs
            assert len(pairs) >= 58, f"{context}: {len(pairs)} of 60 keys"
            for number, pair in enumerate(pairs):
                assert (pair.key, pair.value) == (b"k%04d" % number, b"v" * 400), context
            member.kill()
            os.truncate(member.log_path, 0)
        assert refusals > rounds // 3, f"{refusals} refusals in {rounds}"
    finally:
        member.close()
