"""The quota of the store: over it writes are refused with etcd's error and alarm, reads go on."""

import json
import time
import urllib.error
import urllib.request

import grpc
import pytest

from harness import Member, etcdctl

QUOTA_BYTES = 16 << 20


@pytest.fixture(scope="module")
def api(stubs):
    import rpc_pb2
    import rpc_pb2_grpc
    return rpc_pb2, rpc_pb2_grpc


def fill(kv, pb):
    """Puts until one is refused; returns how many went through, and the error."""
    for number in range(200):
        try:
            kv.Put(pb.PutRequest(key=b"q/%03d" % number, value=b"x" * 1_000_000), timeout=60)
        except grpc.RpcError as error:
            return number, error
    return 200, None


def details(call):
    """How a call fails: its code and text; None when it does not."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return None


FULL = ("RESOURCE_EXHAUSTED", "etcdserver: mvcc: database space exceeded")
BROKEN = ("DATA_LOSS", "etcdserver: corrupt cluster")


def health(member, query=""):
    try:
        with urllib.request.urlopen(f"http://{member.endpoint}/health{query}", timeout=60) as answer:
            return answer.status, json.load(answer)["health"]
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["health"]


def put_in_txn(pb, branch="success"):
    put = pb.RequestOp(request_put=pb.PutRequest(key=b"t", value=b"v"))
    return pb.TxnRequest(**{branch: [put]})


def check_full(pb, kv, maintenance, member, own):
    """What is refused and what is served while the store is full."""
    alarms = maintenance.Alarm(pb.AlarmRequest(action=0), wait_for_ready=True).alarms
    assert [(alarm.memberID, alarm.alarm) for alarm in alarms] == [(own, 1)]
    assert etcdctl(member, "alarm", "list").stdout.strip() == f"memberID:{own} alarm:NOSPACE"
    assert maintenance.Status(pb.StatusRequest()).errors == [f"memberID:{own} alarm:NOSPACE "]
    assert "NOSPACE" in etcdctl(member, "endpoint", "status", "-w", "table").stdout
    assert details(lambda: kv.Put(pb.PutRequest(key=b"small", value=b"x"), timeout=60)) == FULL
    assert details(lambda: kv.Put(pb.PutRequest(key=b"a", lease=88), timeout=60)) == FULL
    for branch in ("success", "failure"):
        assert details(lambda: kv.Txn(put_in_txn(pb, branch), timeout=60)) == FULL
    assert len(kv.Range(pb.RangeRequest(key=b"q/000")).kvs) == 1
    gone = pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=b"none"))
    assert kv.Txn(pb.TxnRequest(success=[gone])).succeeded
    assert health(member) == (503, "false")
    assert health(member, "?exclude=NOSPACE") == (200, "true")
    assert health(member, "?exclude=CORRUPT") == (503, "false")


@pytest.mark.parametrize("kind", ["etcd", "martlet"])
def test_over_the_quota(api, kind):
    """Fill, alarm, refuse, restart, delete, compact, disarm, put again. Martlet needs no
    defragmentation on the way out; etcd does."""
    pb, grpc_ = api
    with Member(kind, [f"--quota-backend-bytes={QUOTA_BYTES}"]) as member:
        with grpc.insecure_channel(member.endpoint) as channel:
            kv, maintenance = grpc_.KVStub(channel), grpc_.MaintenanceStub(channel)
            own = maintenance.Status(pb.StatusRequest()).header.member_id
            count, error = fill(kv, pb)
            assert error is not None and 10 <= count <= 40, count
            assert (error.code().name, error.details()) == FULL
            check_full(pb, kv, maintenance, member, own)
        member.kill()
        member.start(wait=False)
        with grpc.insecure_channel(member.endpoint) as channel:
            grpc.channel_ready_future(channel).result(20)
            kv, maintenance = grpc_.KVStub(channel), grpc_.MaintenanceStub(channel)
            check_full(pb, kv, maintenance, member, own)
            deleted = kv.DeleteRange(pb.DeleteRangeRequest(key=b"q/", range_end=b"q0"))
            assert deleted.deleted == count
            kv.Compact(pb.CompactionRequest(revision=deleted.header.revision, physical=True))
            if kind == "etcd":
                maintenance.Defragment(pb.DefragmentRequest(), timeout=60)
            assert details(lambda: kv.Put(pb.PutRequest(key=b"again"), timeout=60)) == FULL
            assert "NOSPACE" in etcdctl(member, "alarm", "disarm").stdout
            kv.Put(pb.PutRequest(key=b"again", value=b"x"), timeout=60)
            assert not maintenance.Alarm(pb.AlarmRequest(action=0)).alarms
            assert health(member) == (200, "true")
            # What was freed is used again, and the alarm comes back.
            again, error = fill(kv, pb)
            assert error is not None and 10 <= again <= 40, again
            assert len(maintenance.Alarm(pb.AlarmRequest(action=0)).alarms) == 1


@pytest.mark.parametrize("kind", ["etcd", "martlet"])
def test_alarms_by_request(api, kind):
    pb, grpc_ = api
    with Member(kind) as member, grpc.insecure_channel(member.endpoint) as channel:
        kv, maintenance = grpc_.KVStub(channel), grpc_.MaintenanceStub(channel)
        own = maintenance.Status(pb.StatusRequest()).header.member_id

        def alarm(**fields):
            return [(one.memberID, one.alarm)
                    for one in maintenance.Alarm(pb.AlarmRequest(**fields), timeout=60).alarms]

        assert alarm(action=1, memberID=7, alarm=1) == [(7, 1)]
        assert alarm(action=1, memberID=7, alarm=1) == [(7, 1)]
        assert alarm() == alarm(memberID=own) == alarm(alarm=1) == [(7, 1)]
        assert alarm(alarm=2) == []
        assert details(lambda: kv.Put(pb.PutRequest(key=b"a"), timeout=60)) == FULL
        assert alarm(action=2) == []
        assert alarm(action=2, memberID=own, alarm=1) == []
        assert alarm(action=2, memberID=7, alarm=1) == [(7, 1)]
        assert alarm() == []
        kv.Put(pb.PutRequest(key=b"a", value=b"v"), timeout=60)

        assert alarm(action=1, memberID=own, alarm=2) == [(own, 2)]
        assert details(lambda: kv.Put(pb.PutRequest(key=b"a"), timeout=60)) == BROKEN
        assert details(
            lambda: kv.DeleteRange(pb.DeleteRangeRequest(key=b"a"), timeout=60)) == BROKEN
        assert details(lambda: kv.Txn(put_in_txn(pb), timeout=60)) == BROKEN
        assert details(
            lambda: kv.Compact(pb.CompactionRequest(revision=2), timeout=60)) == BROKEN
        assert kv.Range(pb.RangeRequest(key=b"a")).kvs[0].value == b"v"
        read = pb.RequestOp(request_range=pb.RangeRequest(key=b"a"))
        assert kv.Txn(pb.TxnRequest(success=[read])).succeeded
        assert maintenance.HashKV(pb.HashKVRequest()).hash != 0
        assert health(member) == (503, "false")
        assert health(member, "?exclude=CORRUPT") == (200, "true")
        assert etcdctl(member, "alarm", "disarm").stdout.split() == [
            f"memberID:{own}", "alarm:CORRUPT"]
        kv.Put(pb.PutRequest(key=b"a", value=b"v"), timeout=60)


@pytest.mark.parametrize("kind", ["etcd", "martlet"])
def test_moving_leadership_of_a_lone_member(api, kind):
    pb, grpc_ = api
    with Member(kind) as member, grpc.insecure_channel(member.endpoint) as channel:
        maintenance = grpc_.MaintenanceStub(channel)
        own = maintenance.Status(pb.StatusRequest()).header.member_id
        maintenance.MoveLeader(pb.MoveLeaderRequest(targetID=own), timeout=60)
        for target in (0, 5):
            request = pb.MoveLeaderRequest(targetID=target)
            assert details(lambda: maintenance.MoveLeader(request, timeout=60)) == (
                "FAILED_PRECONDITION", "etcdserver: bad leader transferee")


def test_holes_are_given_back_to_the_disk(api):
    """A file that is mostly holes is rewritten without anybody asking for it."""
    pb, grpc_ = api
    with Member("martlet") as member, grpc.insecure_channel(member.endpoint) as channel:
        kv, maintenance = grpc_.KVStub(channel), grpc_.MaintenanceStub(channel)
        for number in range(160):
            kv.Put(pb.PutRequest(key=b"q/%03d" % number, value=b"x" * 1_000_000), timeout=60)
        deleted = kv.DeleteRange(pb.DeleteRangeRequest(key=b"q/", range_end=b"q0"))
        kv.Compact(pb.CompactionRequest(revision=deleted.header.revision, physical=True))
        full = maintenance.Status(pb.StatusRequest())
        assert full.dbSize > 100 << 20 and full.dbSizeInUse < 16 << 20, full
        deadline = time.monotonic() + 120
        while maintenance.Status(pb.StatusRequest()).dbSize > 32 << 20:
            assert time.monotonic() < deadline, maintenance.Status(pb.StatusRequest())
            kv.Put(pb.PutRequest(key=b"meanwhile", value=b"x"), timeout=60)
            time.sleep(0.5)
        assert kv.Range(pb.RangeRequest(key=b"meanwhile")).count == 1
