"""The sections Maintenance and Identity of contract/semantics.md, as far as one member goes.

The quota itself is test_quota.py's; here alarms are raised by hand. SEMANTICS.md says which test
is which line.
"""

import hashlib
import urllib.error
import urllib.request

import pytest

from semantics import Code, Server, failure, prefix_end

NOSPACE, CORRUPT = 1, 2
ACTIVATE, DEACTIVATE = 1, 2
NO_SPACE = (Code.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded")
CORRUPTED = (Code.DATA_LOSS, "etcdserver: corrupt cluster")
FUTURE = (Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision")
COMPACTED = (Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted")


class Alarms:
    """The Alarm call in short. Leaves no alarm behind."""

    def __init__(self, server):
        self.server = server
        self.me = server.get(b"x").header.member_id

    def ask(self, action=0, alarm=0, member=None):
        request = self.server.pb.AlarmRequest(
            action=action, alarm=alarm, memberID=self.me if member is None else member)
        return [(a.memberID, a.alarm) for a in self.server.maintenance.Alarm(request).alarms]

    def raise_(self, alarm, member=None):
        return self.ask(ACTIVATE, alarm, member)

    def disarm(self, alarm, member=None):
        return self.ask(DEACTIVATE, alarm, member)


@pytest.fixture
def alarms(server):
    alarms = Alarms(server)
    yield alarms
    for member, alarm in alarms.ask():
        alarms.disarm(alarm, member)
    assert alarms.ask() == []


def health(server):
    try:
        with urllib.request.urlopen(f"http://{server.endpoint}/health", timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def status(server):
    return server.maintenance.Status(server.pb.StatusRequest())


# Alarms.


def test_raise_list_and_disarm(server, alarms):
    assert alarms.ask() == []
    assert alarms.raise_(NOSPACE) == [(alarms.me, NOSPACE)] == alarms.raise_(NOSPACE)
    assert alarms.ask() == [(alarms.me, NOSPACE)] == alarms.ask(alarm=NOSPACE)
    assert alarms.ask(alarm=CORRUPT) == []
    alarms.raise_(CORRUPT)
    assert sorted(alarms.ask()) == [(alarms.me, NOSPACE), (alarms.me, CORRUPT)]
    assert alarms.disarm(CORRUPT) == [(alarms.me, CORRUPT)]
    assert alarms.disarm(CORRUPT) == []
    assert alarms.ask() == [(alarms.me, NOSPACE)]
    # Somebody else's alarm is not this one.
    assert alarms.disarm(NOSPACE, member=12345) == []
    assert alarms.ask() == [(alarms.me, NOSPACE)]


def test_alarms_of_other_members(server, alarms, key):
    """Any member's alarm counts for all."""
    alarms.raise_(NOSPACE, member=5)
    assert alarms.ask() == [(5, NOSPACE)]
    assert failure(server.put, key) == NO_SPACE
    assert alarms.disarm(NOSPACE, member=5) == [(5, NOSPACE)]
    server.put(key)


# NOSPACE: puts and grants get `database space exceeded`, reads, deletes and compaction go on.


def test_no_space(server, alarms, key):
    for name in (b"a", b"b", b"c"):
        server.put(key + name, b"x")
    lease = server.grant(1000).ID
    alarms.raise_(NOSPACE)
    pb = server.pb
    assert failure(server.put, key) == NO_SPACE
    assert failure(server.grant, 10) == NO_SPACE
    assert failure(server.txn, server.op_put(key)) == NO_SPACE
    assert failure(server.kv.Txn, pb.TxnRequest(failure=[server.op_put(key)])) == NO_SPACE
    assert server.get(key + b"a").count == 1 and server.txn(server.op_get(key)).succeeded
    assert server.delete(key + b"a").deleted == 1
    assert server.txn(server.op_delete(key + b"b"), server.op_get(key + b"c")).succeeded
    server.compact(server.revision(), physical=True)
    server.revoke(lease)
    assert [error for error in status(server).errors if "NOSPACE" in error]
    assert health(server) == 503
    alarms.disarm(NOSPACE)
    server.put(key)
    server.revoke(server.grant(1000).ID)
    assert health(server) == 200 and not status(server).errors


def test_no_space_in_nested_txns(server, alarms, key):
    nested = server.pb.RequestOp(
        request_txn=server.pb.TxnRequest(success=[server.op_put(key)]))
    alarms.raise_(NOSPACE)
    if server.kind == "etcd":
        pytest.skip("etcd 3.4 and 3.5.16 do not look into nested txns")
    assert failure(server.txn, nested) == NO_SPACE


def test_corrupt(server, alarms, key):
    server.put(key, b"x")
    revision = server.revision()
    alarms.raise_(CORRUPT)
    for call in (lambda: server.put(key), lambda: server.delete(key), lambda: server.grant(10),
                 lambda: server.revoke(404), lambda: server.compact(revision),
                 lambda: server.txn(server.op_put(key))):
        assert failure(call) == CORRUPTED
    if server.kind == "etcd":
        # Reads go on there; Martlet may refuse them too.
        assert server.get(key).count == 1
    assert health(server) == 503
    assert [error for error in status(server).errors if "CORRUPT" in error]
    alarms.disarm(CORRUPT)
    server.put(key)


@pytest.mark.parametrize("kill", [False, True], ids=["stop", "kill"])
def test_alarms_survive_restarts(stubs, server, key, kill):
    with Server(server.kind) as member:
        alarms = Alarms(member)
        alarms.raise_(NOSPACE)
        member.restart(kill=kill, healthy=False)
        assert alarms.ask() == [(alarms.me, NOSPACE)]
        assert failure(member.put, key) == NO_SPACE
        alarms.disarm(NOSPACE)
        member.put(key)
        member.restart(kill=kill)
        assert alarms.ask() == []


# Status.


def test_status(server, key):
    revision = server.put(key, b"x" * 10_000).header.revision
    reply = status(server)
    header = reply.header
    assert reply.leader == header.member_id and header.revision == revision
    assert reply.raftTerm == header.raft_term > 0
    assert reply.raftIndex >= reply.raftAppliedIndex > 0
    assert 0 < reply.dbSizeInUse <= reply.dbSize and not reply.isLearner and not reply.errors
    later = server.put(key, b"y").header.revision
    again = status(server)
    assert again.header.revision == later and again.raftAppliedIndex > reply.raftAppliedIndex
    if server.kind == "martlet":
        assert reply.storageVersion and reply.dbSizeQuota == 2 << 30
        assert not reply.downgradeInfo.enabled


def test_quota_of_status(stubs, server):
    if server.kind == "etcd":
        pytest.skip("since 3.6")
    with Server("martlet", ["--quota-backend-bytes=123456789"]) as member:
        assert status(member).dbSizeQuota == 123456789


# Every response has a header (section Identity).


def test_every_response_has_a_header(server, key):
    pb = server.pb
    server.put(key)
    wanted = server.get(key).header
    lease = server.grant(1000).ID
    replies = {
        "ttl": server.time_to_live(lease), "revoke": server.revoke(lease),
        "leases": server.lease.LeaseLeases(pb.LeaseLeasesRequest()), "status": status(server),
        "hashkv": server.maintenance.HashKV(pb.HashKVRequest()),
        "hash": server.maintenance.Hash(pb.HashRequest()),
        "users": server.auth.UserList(pb.AuthUserListRequest()),
        "roles": server.auth.RoleList(pb.AuthRoleListRequest()),
        "txn": server.txn(server.op_get(key)), "compact": server.compact(wanted.revision)}
    for name, reply in replies.items():
        assert reply.header == wanted, name
    members = server.cluster.MemberList(pb.MemberListRequest())
    assert members.header.cluster_id == wanted.cluster_id
    assert members.header.member_id == wanted.member_id == members.members[0].ID


# HashKV at a revision is equal on all members. (Of etcd and Martlet: test_etcdctl.py.)


def test_hashkv(server, key):
    def hash_at(revision):
        return server.maintenance.HashKV(server.pb.HashKVRequest(revision=revision))

    revisions = [server.put(key, b"%d" % i).header.revision for i in range(6)]
    hashes = [hash_at(revision).hash for revision in revisions]
    assert len(set(hashes)) == 6
    assert [hash_at(revision).hash for revision in revisions] == hashes
    assert hash_at(0).hash == hashes[-1]
    assert failure(hash_at, revisions[-1] + 1) == FUTURE
    server.compact(revisions[3], physical=True)
    assert hash_at(revisions[4]).compact_revision == revisions[3]
    assert failure(hash_at, revisions[2]) == COMPACTED
    if server.kind == "martlet":
        assert hash_at(revisions[4]).hash_revision == revisions[4]


# Snapshot: a stream of blobs of the whole store at one revision, remaining_bytes falling to 0,
# then its SHA-256.


def test_snapshot(server, key):
    for i in range(60):
        server.put(key + b"%d" % i, b"v" * 50_000)
    parts = list(server.maintenance.Snapshot(server.pb.SnapshotRequest()))
    content = b"".join(part.blob for part in parts)
    assert hashlib.sha256(content[:-32]).digest() == content[-32:]
    assert len(content) > 60 * 50_000
    remaining = [part.remaining_bytes for part in parts]
    assert remaining == sorted(remaining, reverse=True) and remaining[-1] == 0
    assert len(set(remaining)) > 5
    sent = 0
    for part in parts[:-1]:
        sent += len(part.blob)
        assert sent + part.remaining_bytes in (len(content) - 32, len(content))
    if server.kind == "martlet":
        assert parts[0].version


# MoveLeader only at the leader, else `not leader` (a cluster's; a lone member has nobody to move
# to).


def test_move_leader(server):
    move = server.maintenance.MoveLeader
    bad = (Code.FAILED_PRECONDITION, "etcdserver: bad leader transferee")
    assert failure(move, server.pb.MoveLeaderRequest(targetID=404)) == bad
    assert failure(move, server.pb.MoveLeaderRequest()) == bad
    # To itself, which is the leader already.
    me = server.get(b"x").header.member_id
    move(server.pb.MoveLeaderRequest(targetID=me))
    server.put(b"still", b"served")


def test_defragment(server, key):
    for i in range(20):
        server.put(key, b"v" * 100_000)
    server.compact(server.revision(), physical=True)
    server.maintenance.Defragment(server.pb.DefragmentRequest())
    assert server.get(key, prefix_end(key)).count == 1


def test_downgrade(server):
    if server.kind == "etcd":
        pytest.skip("since 3.5, where `enable` times out (3.5.16)")
    pb, ask = server.pb, server.maintenance.Downgrade
    version = status(server).version.split(".")
    below = f"{version[0]}.{int(version[1]) - 1}.0"
    for wrong in ("", "x", "3", "3.x.0"):
        assert failure(ask, pb.DowngradeRequest(version=wrong)) == (
            Code.INVALID_ARGUMENT, "etcdserver: wrong downgrade target version format"), wrong
    for far in ("3.0.0", "9.9.0", ".".join([*version[:2], "0"])):
        assert failure(ask, pb.DowngradeRequest(version=far)) == (
            Code.INVALID_ARGUMENT, "etcdserver: invalid downgrade target version"), far
    assert failure(ask, pb.DowngradeRequest(action=2)) == (
        Code.FAILED_PRECONDITION, "etcdserver: no inflight downgrade job")
    assert ask(pb.DowngradeRequest(version=below)).version
    ask(pb.DowngradeRequest(action=1, version=below))
    assert status(server).downgradeInfo.enabled
    assert status(server).downgradeInfo.targetVersion.startswith(below.rsplit(".", 1)[0])
    assert failure(ask, pb.DowngradeRequest(action=1, version=below)) == (
        Code.FAILED_PRECONDITION, "etcdserver: cluster has a downgrade job in progress")
    ask(pb.DowngradeRequest(action=2))
    assert not status(server).downgradeInfo.enabled
