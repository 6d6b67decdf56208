"""Clusters with one member whose disk is full, hangs, or holds damaged data. The others go on; the
member acknowledges nothing that it does not have, leads no longer, and is healed as documented.

The gate runs a short form of each; MARTLET_LONG=1 the long one.
"""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import grpc
import pytest

from cluster_load import (API, Load, check_equal_stores, check_linearizable,
                          eventually, leader_among)
from harness import Cluster, Member, etcdctl
from test_disk import FULL_DISK_MEBIBYTES, fill, first_segment, frames, patch, refused

LONG = os.environ.get("MARTLET_LONG") == "1"
# Changes of the membership need not wait until all have been connected for five seconds;
# test_membership.py has that.
QUICK = ["--heartbeat-interval=50", "--election-timeout=500", "--strict-reconfig-check=false"]
HUNG_DISK_MEBIBYTES = 400


@pytest.fixture(scope="module")
def api(stubs):
    return API()


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()


class Disk:
    """A disk of its own: a small tmpfs, or a file system in a file, which can be frozen."""

    def __init__(self, kind: str):
        self.path = tempfile.mkdtemp(prefix="martlet-test-disk-")
        self.image: str | None = None
        self.is_frozen = self.is_mounted = False
        try:
            if kind == "tmpfs":
                run("mount", "-t", "tmpfs", "-o", f"size={FULL_DISK_MEBIBYTES}m", "tmpfs",
                    self.path)
            else:
                self.image = self.path + ".image"
                with open(self.image, "wb") as file:
                    file.truncate(HUNG_DISK_MEBIBYTES << 20)
                run("mkfs.ext4", "-q", "-F", self.image)
                run("mount", "-o", "loop", self.image, self.path)
            self.is_mounted = True
        except OSError as error:
            self.close()
            pytest.skip(f"no disk of its own: {error}")

    def freeze(self) -> None:
        """From now on writes and syncs of this disk do not return."""
        run("fsfreeze", "--freeze", self.path)
        self.is_frozen = True

    def thaw(self) -> None:
        if self.is_frozen:
            run("fsfreeze", "--unfreeze", self.path)
            self.is_frozen = False

    def close(self) -> None:
        self.thaw()
        if self.is_mounted:
            subprocess.run(["umount", "-l", self.path], check=False)
        shutil.rmtree(self.path, ignore_errors=True)
        if self.image is not None:
            os.remove(self.image)


class ClusterOnDisk(Cluster):
    """A cluster whose first member has a disk of its own."""

    def __init__(self, kind: str):
        self.disk = Disk(kind)
        super().__init__("martlet", flags=list(QUICK))
        first = self.members[0]
        self.own_directory = first.directory
        # Its messages go to the other disk, where they block nothing.
        first.log_name = os.path.join(first.directory, "server.log")
        first.directory = self.disk.path

    def close(self) -> None:
        self.disk.thaw()
        self.members[0].owns_directory = False
        super().close()
        self.disk.close()
        shutil.rmtree(self.own_directory, ignore_errors=True)


def make_leader(api, cluster, member: Member) -> None:
    """Moves the leadership to a member."""
    def move():
        leader = leader_among(api, cluster.members)
        if leader is member:
            return True
        etcdctl(leader, "move-leader", cluster.id_of(member), check=False)
        return False
    eventually("the leadership moves", move)


def make_follower(api, cluster, member: Member) -> None:
    make_leader(api, cluster, next(other for other in cluster.members if other is not member))


def clients_elsewhere(load, member):
    return [client for client in load.clients if client.members[client.at] is not member]


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_full_disk_of_a(api, tmp_path, role):
    """D2: it stops leading and says why, the others go on, and with space it is a member again."""
    with ClusterOnDisk("tmpfs") as cluster:
        member, *others = cluster.members
        with Load(api, cluster.members) as load:
            load.wait_for_progress("the first writes")
            (make_leader if role == "leader" else make_follower)(api, cluster, member)
            filler = fill(cluster.disk.path)
            ballast = os.urandom(700_000)
            acknowledged = 0

            # The log has some space of its own, which must be used up first.
            with api.patient(others[0]) as channel:
                kv = api.grpc.KVStub(channel)

                def write_on():
                    nonlocal acknowledged
                    for _ in range(8):
                        try:
                            kv.Put(api.pb.PutRequest(key=b"ballast/%d" % acknowledged,
                                                     value=ballast), timeout=10)
                            acknowledged += 1
                        except grpc.RpcError:
                            break
                    return "the log cannot be written" in member.log()
                eventually("the member notices", write_on)
            assert "space" in member.log()
            new = leader_among(api, others, but=member)
            load.wait_for_progress("writes without the full one", clients_elsewhere(load, member))
            assert member.process.poll() is None, member.log()
            # It has what it acknowledged, and still says so.
            with api.patient(member) as channel:
                api.grpc.KVStub(channel).Range(api.pb.RangeRequest(
                    key=b"ballast/0", serializable=True, keys_only=True), timeout=60)
            os.remove(filler)
            eventually("the member can write", lambda: "can be written again" in member.log())
            with api.patient(new) as channel:
                count = api.grpc.KVStub(channel).Range(api.pb.RangeRequest(
                    key=b"ballast/", range_end=b"ballast0", count_only=True), timeout=60).count
            assert count >= acknowledged
            load.wait_for_progress("writes with all members")
            history = load.stop()
        print(load.failures(), acknowledged, "large puts")
        check_equal_stores(api, cluster.members)
        check_linearizable(api, history, member, tmp_path / "history")


def test_hung_disk_of_the_leader(api, tmp_path):
    """D3: the disk takes no write and gives no error. The leader steps down, no lease is revoked,
    and all goes on when the disk does."""
    pb = api.pb
    with ClusterOnDisk("ext4") as cluster:
        member, *others = cluster.members
        with Load(api, cluster.members) as load, \
                api.patient(others[0]) as channel:
            load.wait_for_progress("the first writes")
            kv, leases = api.grpc.KVStub(channel), api.grpc.LeaseStub(channel)
            for _ in range(5 if LONG else 1):
                make_leader(api, cluster, member)
                # One that is renewed while the disk hangs, and one that would end meanwhile.
                lease = leases.LeaseGrant(pb.LeaseGrantRequest(TTL=5), timeout=60).ID
                kv.Put(pb.PutRequest(key=b"leased", value=b"v", lease=lease), timeout=60)
                cluster.disk.freeze()
                begin = time.monotonic()
                leader_among(api, others, but=member)
                print(f"another leader after {time.monotonic() - begin:.2f} s")
                load.wait_for_progress("writes without it", clients_elsewhere(load, member))
                for _ in range(3):
                    answer = next(leases.LeaseKeepAlive(
                        iter([pb.LeaseKeepAliveRequest(ID=lease)]), timeout=60))
                    assert answer.TTL > 0, "a lease that was renewed is gone"
                    time.sleep(0.3)
                assert member.process.poll() is None, member.log()
                cluster.disk.thaw()
                load.wait_for_progress("writes with all members")
                assert kv.Range(pb.RangeRequest(key=b"leased"), timeout=60).count == 1
                leases.LeaseRevoke(pb.LeaseRevokeRequest(ID=lease), timeout=60)
            history = load.stop()
        print(load.failures())
        check_linearizable(api, history, member, tmp_path / "history")
        check_equal_stores(api, cluster.members)


def reseed(api, cluster, member: Member, via: Member) -> Member:
    """What the documentation says of a member whose data is lost or wrong: remove it, add it, start
    it with no data, and disarm the alarm if there is one."""
    old = cluster.id_of(member, via)
    eventually("member remove", lambda: etcdctl(
        via, "member", "remove", old, check=False).returncode == 0)
    if member.process.poll() is None:
        member.kill()
    cluster.members.remove(member)
    member.close()
    leader_among(api, cluster.members)
    fresh = cluster.joiner(list(QUICK))
    eventually("member add", lambda: etcdctl(
        via, "member", "add", fresh.name, f"--peer-urls={fresh.peer_url}",
        check=False).returncode == 0)
    fresh.start(wait=False)
    # As with etcd, nobody is healthy while there is an alarm.
    if etcdctl(via, "alarm", "list").stdout:
        etcdctl(via, "alarm", "disarm")
    fresh.wait_until_healthy()
    return fresh


def test_flipped_byte_in_the_log(api, tmp_path):
    """D1 between members: it does not start, names file and offset, and is re-seeded."""
    with Cluster("martlet", flags=list(QUICK)) as cluster:
        member, *others = cluster.members
        with Load(api, others) as load:
            load.wait_for_progress("the first writes")
            with api.patient(others[0]) as channel:
                for number in range(200):
                    api.grpc.KVStub(channel).Put(
                        api.pb.PutRequest(key=b"k%d" % number), timeout=60)
            member.kill()
            segment = first_segment(member)
            found = frames(segment)
            offset, _ = found[len(found) // 2]
            patch(segment, offset + 40, lambda byte: byte ^ 4)
            text = refused(member)
            assert segment.name in text and str(offset) in text, text
            load.wait_for_progress("writes without it")
            fresh = reseed(api, cluster, member, others[0])
            load.wait_for_progress("writes with the fresh one")
            history = load.stop()
        check_linearizable(api, history, fresh, tmp_path / "history")
        check_equal_stores(api, cluster.members)


def etcd_put(api, member, key, value=b"v"):
    with api.patient(member) as channel:
        api.grpc.KVStub(channel).Put(api.pb.PutRequest(key=key, value=value), timeout=60)


def api_hash(api, member) -> int:
    """HashKV at a revision that all members have."""
    with api.patient(member) as channel:
        return api.grpc.MaintenanceStub(channel).HashKV(
            api.pb.HashKVRequest(revision=2), timeout=60).hash


def store_file(member: Member) -> pathlib.Path:
    return pathlib.Path(member.directory, "data/member/db/store.mdb")


def flip_value(member: Member, value: bytes, wait: bool = True) -> None:
    """Stops a member, makes the value another one in its store's file alone, and starts it."""
    assert member.stop() == 0
    content = store_file(member).read_bytes()
    places = [n for n in range(len(content)) if content.startswith(value, n)] \
        if value in content else []
    assert places, "the value is not in the store's file"
    for place in places:
        patch(store_file(member), place + 5, lambda byte: byte ^ 1)
    member.start(wait)


@pytest.mark.parametrize("role", ["follower", "leader"])
def test_flipped_byte_in_the_store(api, role):
    """P3, P4: a value is another one on one member's disk. As soon as it makes a difference to what
    an entry does there, the hashes differ: the alarm is raised for that member, which stops
    serving and says which index, and is re-seeded."""
    pb = api.pb
    secret = b"a value that is easy to find in a file " + os.urandom(16).hex().encode()
    with Cluster("martlet", flags=list(QUICK)) as cluster:
        member, *others = cluster.members
        etcd_put(api, member, b"decides", secret)
        flip_value(member, secret)
        (make_leader if role == "leader" else make_follower)(api, cluster, member)
        with api.patient(member) as channel:
            kv = api.grpc.KVStub(channel)
            read = kv.Range(pb.RangeRequest(key=b"decides", serializable=True), timeout=60)
            assert read.kvs[0].value != secret, "the damage is not there"
            hashes = {api_hash(api, other) for other in cluster.members}
            assert len(hashes) == 2, "HashKV does not tell the stores apart"
            # The others put one thing, the damaged member another.
            with api.patient(others[0]) as whole:
                api.grpc.KVStub(whole).Txn(pb.TxnRequest(
                    compare=[pb.Compare(result=0, target=3, key=b"decides", value=secret)],
                    success=[pb.RequestOp(request_put=pb.PutRequest(key=b"r", value=b"yes"))],
                    failure=[pb.RequestOp(request_put=pb.PutRequest(key=b"r", value=b"no"))]),
                    timeout=60)
            damaged = cluster.id_of(member, others[0])
            eventually("the alarm", lambda: "CORRUPT" in etcdctl(
                others[0], "alarm", "list", check=False).stdout)
            assert etcdctl(others[0], "alarm", "list").stdout.splitlines() == [
                f"memberID:{int(damaged, 16)} alarm:CORRUPT "]

            def refuses():
                try:
                    kv.Range(pb.RangeRequest(key=b"r", serializable=True), timeout=10)
                except grpc.RpcError as error:
                    return error.details() == "etcdserver: corrupt cluster"
                return False
            eventually("the member stops serving", refuses)
        # Who found it says so, and whom it is about.
        for text, logs in [("a member's data differs from the others'", cluster.members),
                           ("this member's data differs from the others'", [member])]:
            told = [json.loads(line) for one in logs for line in one.log().splitlines()
                    if text in line]
            assert told and int(told[0]["index"]) > 0 and damaged in told[0]["hashes"], told
        # The whole members still answer.
        with api.patient(others[1]) as channel:
            assert api.grpc.KVStub(channel).Range(
                pb.RangeRequest(key=b"r"), timeout=60).kvs[0].value == b"yes"
        reseed(api, cluster, member, others[0])
        etcd_put(api, cluster.members[-1], b"after")
        check_equal_stores(api, cluster.members)
