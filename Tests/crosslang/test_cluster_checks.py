"""What etcd's flags of corruption checks do: the members' stores are compared by HashKV, at the start,
at times, and after compactions. Who differs from the majority is found though nobody reads what is
damaged; who does not is never accused.

The gate runs a short form; MARTLET_LONG=1 the long one.
"""

import json
import os
import subprocess
import time

import grpc
import pytest

from cluster_load import API, Load, check_equal_stores, eventually, leader_among
from harness import Cluster, Member, etcdctl, martlet_binary
from test_cluster_disks import (QUICK, etcd_put, flip_value, make_follower, make_leader, reseed)

LONG = os.environ.get("MARTLET_LONG") == "1"
OFTEN = "--experimental-corrupt-check-time=300ms"
COMPARED = "the members' stores were compared and are alike"
ACCUSED = "a member's data differs from the others'"
SECRET = b"a value that is easy to find in a file "


@pytest.fixture(scope="module")
def api(stubs):
    return API()


def lines(member: Member, text: str) -> list[dict]:
    """The lines of a member's log with that message."""
    with open(member.log_path) as file:
        return [line for line in map(json.loads, file) if text in line["msg"]]


def alarms(member: Member) -> list[str]:
    return etcdctl(member, "alarm", "list").stdout.splitlines()


def read(api, member, key: bytes) -> bytes:
    with api.patient(member) as channel:
        return api.grpc.KVStub(channel).Range(
            api.pb.RangeRequest(key=key, serializable=True), timeout=60).kvs[0].value


def refuses_reads(api, member) -> bool:
    with api.channel(member) as channel:
        try:
            api.grpc.KVStub(channel).Range(
                api.pb.RangeRequest(key=b"k", serializable=True), timeout=10)
        except grpc.RpcError as error:
            return error.details() == "etcdserver: corrupt cluster"
    return False


@pytest.mark.parametrize("role", ["follower", "leader"])
def test_a_rotten_value_is_found(api, role):
    """Only those have the flag who are to find it: the others, or the damaged member of itself."""
    secret = SECRET + os.urandom(16).hex().encode()
    cluster = Cluster("martlet", flags=list(QUICK))
    member, *others = cluster.members
    for one in [member] if role == "leader" else others:
        one.flags.append(OFTEN)
    with cluster:
        etcd_put(api, member, b"rotten", secret)
        damaged = cluster.id_of(member)
        # With an alarm it would not be healthy.
        flip_value(member, secret, wait=False)
        (make_leader if role == "leader" else make_follower)(api, cluster, member)
        eventually("the alarm", lambda: alarms(others[0]) == [
            f"memberID:{int(damaged, 16)} alarm:CORRUPT "])
        eventually("the member stops serving", lambda: refuses_reads(api, member))
        finders = [member] if role == "leader" else others
        found = [line for one in finders for line in lines(one, ACCUSED)]
        accused = lines(member, "this member's data differs from the others'")
        for told in [found, accused]:
            assert told, "nobody says so"
            assert told[0]["member"] == damaged and int(told[0]["revision"]) == 2
            assert told[0]["compactRevision"] == "-1" and told[0]["decidedBy"] == "majority"
            hashes = dict(part.split("=") for part in told[0]["hashes"].split(", "))
            assert len(hashes) == 3 and len(set(hashes.values())) == 2, hashes
            assert list(hashes.values()).count(hashes[damaged]) == 1, hashes
        # The others read on, and know nothing but that there is an alarm.
        for other in others:
            assert read(api, other, b"rotten") == secret
            assert not lines(other, "this member's data differs")
        reseed(api, cluster, member, others[0])
        etcd_put(api, cluster.members[-1], b"after")
        check_equal_stores(api, cluster.members)


def test_two_members_that_differ_accuse_nobody(api):
    """No majority: as in etcd the alarm names member 0, and nothing may be changed, but all be read."""
    secret = SECRET + os.urandom(16).hex().encode()
    with Cluster("martlet", size=2, flags=[*QUICK, OFTEN]) as cluster:
        etcd_put(api, cluster.members[0], b"rotten", secret)
        flip_value(cluster.members[0], secret, wait=False)
        eventually("the alarm",
                   lambda: alarms(cluster.members[0]) == ["alarm:CORRUPT "])
        for member in cluster.members:
            assert read(api, member, b"rotten")
            eventually("the line", lambda: lines(member, "no majority agrees"))
            with api.channel(member) as channel, pytest.raises(grpc.RpcError) as refused:
                api.grpc.KVStub(channel).Put(api.pb.PutRequest(key=b"k"), timeout=60)
            assert refused.value.details() == "etcdserver: corrupt cluster"


def test_a_rotten_member_does_not_start_with_the_initial_check(api):
    secret = SECRET + os.urandom(16).hex().encode()
    with Cluster("martlet", flags=list(QUICK)) as cluster:
        member, *others = cluster.members
        etcd_put(api, member, b"rotten", secret)
        member.flags.append("--experimental-initial-corrupt-check")
        # Sound, it starts.
        assert member.stop() == 0
        member.start()
        assert lines(member, "this member's store is as the others'")
        flip_value_and_refuse(member, secret)
        assert "InitialCorruptCheck" in member.log() and "at revision 2" in member.log()
        assert alarms(others[0]) == []


def flip_value_and_refuse(member: Member, secret: bytes) -> None:
    with pytest.raises(AssertionError):
        flip_value(member, secret)
    assert member.process.wait(60) == 1


def test_a_rotten_value_is_found_after_a_compaction(api):
    """The gate CompactHashCheck: nothing is compared before there is a compaction."""
    secret = SECRET + os.urandom(16).hex().encode()
    flags = [*QUICK, "--feature-gates=CompactHashCheck=true", "--compact-hash-check-time=200ms"]
    with Cluster("martlet", flags=flags) as cluster:
        member, *others = cluster.members
        for number in range(10):
            etcd_put(api, member, b"k%d" % number)
        etcd_put(api, member, b"rotten", secret)
        damaged = cluster.id_of(member)
        flip_value(member, secret)
        time.sleep(2)
        assert alarms(others[0]) == []
        assert not any(lines(one, COMPARED) for one in cluster.members)
        leader = leader_among(api, cluster.members)
        etcdctl(leader, "compaction", "8")
        eventually("the alarm", lambda: alarms(others[0]) == [
            f"memberID:{int(damaged, 16)} alarm:CORRUPT "])
        told = [line for one in cluster.members for line in lines(one, ACCUSED)]
        assert told[0]["compactRevision"] == "8"


def test_who_is_sound_is_never_accused(api):
    """All checks are on and come all the time, while clients write, there are compactions, members
    are killed and come back, fall behind until they need a snapshot, and a learner joins."""
    flags = [*QUICK, "--experimental-corrupt-check-time=50ms", "--snapshot-catchup-entries=50",
             "--experimental-compact-hash-check-enabled", "--experimental-initial-corrupt-check",
             "--experimental-compact-hash-check-time=70ms"]
    with Cluster("martlet", flags=flags) as cluster:
        stays, *others = cluster.members
        load = Load(api, cluster.members)
        # They want all of the history, and there are compactions.
        load.watchers = []
        with load:
            for round in range(20 if LONG else 3):
                load.wait_for_progress("writes")
                compact(api, stays)
                victim = others[round % 2]
                victim.kill()
                load.wait_for_progress("writes without it",
                                       [client for client in load.clients
                                        if client.members[client.at] is not victim])
                compact(api, stays)
                victim.start()
                compact(api, stays)
            learner = cluster.joiner()
            eventually("a learner", lambda: etcdctl(
                stays, "member", "add", learner.name, "--learner",
                f"--peer-urls={learner.peer_url}", check=False).returncode == 0)
            learner.start(wait=False)
            eventually("its promotion", lambda: etcdctl(
                stays, "member", "promote", cluster.id_of(learner, stays),
                check=False).returncode == 0)
            learner.wait_until_healthy()
            compact(api, stays)
            load.wait_for_progress("writes with four")
        eventually("a comparison of all four", lambda: any(
            line["members"] == "4" for one in cluster.members for line in lines(one, COMPARED)))
        compared = [line for one in cluster.members for line in lines(one, COMPARED)]
        assert any(int(line["compactRevision"]) > 0 for line in compared)
        assert alarms(stays) == []
        assert not any(lines(one, "differs") for one in cluster.members)
        check_equal_stores(api, cluster.members)


def compact(api, member) -> None:
    with api.patient(member) as channel:
        kv = api.grpc.KVStub(channel)
        revision = kv.Range(api.pb.RangeRequest(key=b"k"), timeout=60).header.revision
        try:
            kv.Compact(api.pb.CompactionRequest(revision=revision - 5), timeout=60)
        except grpc.RpcError as error:
            # It was asked twice.
            assert "compacted" in error.details(), error


def test_a_restored_cluster_is_sound(api, tmp_path):
    """A new cluster of three from a snapshot with compactions in it."""
    snapshot = str(tmp_path / "snapshot")
    with Member("martlet") as source:
        for number in range(50):
            etcd_put(api, source, b"k%d" % (number % 7), b"v%d" % number)
        etcdctl(source, "compaction", "30")
        etcdctl(source, "snapshot", "save", snapshot)
    flags = [*QUICK, OFTEN, "--experimental-initial-corrupt-check"]
    cluster = Cluster("martlet", flags=flags)
    for member in cluster.members:
        token = next(flag for flag in member.flags if "cluster-token" in flag)
        subprocess.run(
            [os.path.join(os.path.dirname(martlet_binary()), "martletutl"), "snapshot", "restore",
             snapshot, f"--name={member.name}", f"--data-dir={member.directory}/data",
             f"--initial-cluster={member.initial_cluster}", token,
             f"--initial-advertise-peer-urls={member.peer_url}"],
            check=True, capture_output=True)
    with cluster:
        compared = eventually("a comparison", lambda: [
            line for one in cluster.members for line in lines(one, COMPARED)])
        assert int(compared[0]["compactRevision"]) == 30
        etcd_put(api, cluster.members[0], b"after")
        etcdctl(cluster.members[1], "compaction", "40")
        eventually("a comparison after that", lambda: any(
            line["compactRevision"] == "40" for one in cluster.members
            for line in lines(one, COMPARED)))
        assert alarms(cluster.members[0]) == []
