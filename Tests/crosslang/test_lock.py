"""Locks and elections: etcdctl against Martlet and etcd 3.4, contenders over the gateway, and a client
in Python that was generated from proto/."""

import concurrent.futures
import contextlib
import subprocess
import threading
import time
from random import Random

import grpc
import pytest

import harness
from semantics import STREAM_SECONDS, Waiting, failure, wait_until
from test_gateway import post


def wait_for_keys(member, count):
    """Until so many keys lie under the name `L`."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = post(member, "/v3/kv/range", {"key": "TC8=", "range_end": "TDA="})[1]
        if int(found.get("count", 0)) == count:
            return found.get("kvs", [])
        time.sleep(0.01)
    raise AssertionError(f"never {count} keys on {member.kind}: {found}")


def test_etcdctl_lock_and_elect(both):
    for member in both:
        done = harness.etcdctl(member, "lock", "L", "echo", "held")
        assert done.stdout.strip() == "held"
        wait_for_keys(member, 0)
        command = ["/usr/bin/etcdctl", f"--endpoints={member.endpoint}", "elect", "L", "me"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True,
                              env={"ETCDCTL_API": "3"}) as leader:
            key, value = leader.stdout.readline(), leader.stdout.readline()
            assert key.startswith("L/") and value.strip() == "me"
            leader.terminate()
            leader.wait(10)
        wait_for_keys(member, 0)


def test_a_waiter_gets_the_lock(both):
    for member in both:
        for lease in (1, 2):
            post(member, "/v3/lease/grant", {"TTL": 60, "ID": lease})
        held = post(member, "/v3/lock/lock", {"name": "TA==", "lease": 1})[1]["key"]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            waiter = pool.submit(post, member, "/v3/lock/lock", {"name": "TA==", "lease": 2})
            wait_for_keys(member, 2)
            post(member, "/v3/lock/unlock", {"key": held})
            status, answer = waiter.result(10)
        assert status == 200 and answer["key"] == "TC8y"


def test_a_waiter_that_disconnects_leaves_nothing(both):
    for member in both:
        post(member, "/v3/lease/grant", {"TTL": 60, "ID": 1})
        post(member, "/v3/lock/lock", {"name": "TA==", "lease": 1})
        waiter = subprocess.Popen(
            ["curl", "-s", f"http://{member.endpoint}/v3/lock/lock", "-d", '{"name":"TA=="}'])
        wait_for_keys(member, 2)
        waiter.terminate()
        waiter.wait(10)
        assert wait_for_keys(member, 1)[0]["lease"] == "1"


def test_an_expired_waiter_does_not_get_the_lock(martlet):
    """Not compared: etcd 3.4 gives it the lock (J3)."""
    for lease in (1, 2):
        post(martlet, "/v3/lease/grant", {"TTL": 60, "ID": lease})
    post(martlet, "/v3/lock/lock", {"name": "TA==", "lease": 1})
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiter = pool.submit(post, martlet, "/v3/lock/lock", {"name": "TA==", "lease": 2})
        wait_for_keys(martlet, 2)
        post(martlet, "/v3/lease/revoke", {"ID": 2})
        post(martlet, "/v3/lease/revoke", {"ID": 1})
        assert waiter.result(10) == (500, {
            "error": "mutex: session is expired", "message": "mutex: session is expired",
            "code": 2})


# From a client that grpcio-tools made of proto/, against Debian's etcd first.


class Recipes:
    """The stubs of the two services on a server's channel."""

    def __init__(self, server):
        import v3election_pb2
        import v3election_pb2_grpc
        import v3lock_pb2
        import v3lock_pb2_grpc
        self.server, self.lock_pb, self.election_pb = server, v3lock_pb2, v3election_pb2
        self.locks = Waiting(v3lock_pb2_grpc.LockStub(server.channel))
        self.elections = Waiting(v3election_pb2_grpc.ElectionStub(server.channel))
        # Calls that are meant to wait are asked of the stub itself, which knows futures.
        self.waiting_lock = v3lock_pb2_grpc.LockStub(server.channel).Lock.future
        self.waiting_campaign = v3election_pb2_grpc.ElectionStub(server.channel).Campaign.future

    def lock(self, name, lease=0):
        return self.locks.Lock(self.lock_pb.LockRequest(name=name, lease=lease))

    def start_lock(self, name, lease=0):
        return self.waiting_lock(self.lock_pb.LockRequest(name=name, lease=lease),
                                 timeout=STREAM_SECONDS)

    def unlock(self, key):
        return self.locks.Unlock(self.lock_pb.UnlockRequest(key=key))

    def campaign_request(self, name, lease, value):
        return self.election_pb.CampaignRequest(name=name, lease=lease, value=value)

    def campaign(self, name, lease, value):
        return self.elections.Campaign(self.campaign_request(name, lease, value)).leader

    def start_campaign(self, name, lease, value):
        return self.waiting_campaign(self.campaign_request(name, lease, value),
                                     timeout=STREAM_SECONDS)

    def proclaim(self, leader, value):
        return self.elections.Proclaim(
            self.election_pb.ProclaimRequest(leader=leader, value=value))

    def resign(self, leader):
        return self.elections.Resign(self.election_pb.ResignRequest(leader=leader))

    def leader(self, name):
        return self.elections.Leader(self.election_pb.LeaderRequest(name=name)).kv

    def observe(self, name):
        return self.elections.Observe(
            self.election_pb.LeaderRequest(name=name), timeout=STREAM_SECONDS)

    def pairs(self, name):
        return self.server.get(name + b"/", name + b"0").kvs

    def wait_for_pairs(self, name, count):
        return wait_until(lambda: len(self.pairs(name)) == count and self.pairs(name) or not count,
                          f"{count} keys under {name}")

    def owned(self, key, lease):
        """What lies under a key that somebody was just told to own (J3)."""
        kvs = self.server.get(key).kvs
        assert len(kvs) == 1 and kvs[0].lease == lease, (key, kvs)
        return kvs[0]

    def fenced_put(self, key, create_revision, target, value):
        """A put by somebody who believes to be the owner; whether it was taken."""
        pb = self.server.pb
        return self.server.txn(
            self.server.op_put(target, value),
            compare=[pb.Compare(key=key, target=pb.Compare.CREATE, result=pb.Compare.EQUAL,
                                create_revision=create_revision)]).succeeded


@pytest.fixture
def recipes(server):
    return Recipes(server)


def test_lock_and_unlock(recipes, server, key):
    lease = server.grant(600).ID
    answer = recipes.lock(key, lease)
    assert answer.key == key + b"/%x" % lease
    kv = recipes.owned(answer.key, lease)
    assert answer.header.revision >= kv.create_revision
    assert recipes.lock(key, lease).key == answer.key, "who has it gets it again"
    assert recipes.unlock(answer.key).header.revision > kv.create_revision
    assert recipes.pairs(key) == []
    assert server.time_to_live(lease).TTL > 0, "the lease is the client's"
    recipes.unlock(answer.key)


def test_lock_without_a_lease(recipes, server, key):
    """The server makes one, of a minute."""
    locked = recipes.lock(key).key
    (kv,) = recipes.pairs(key)
    assert kv.key == locked and kv.lease
    assert server.time_to_live(kv.lease).grantedTTL == 60
    recipes.unlock(locked)
    assert recipes.pairs(key) == []


def test_lock_with_a_lease_that_is_not_there(recipes, key):
    code, text = failure(recipes.lock, key, 4711)
    assert "requested lease not found" in text
    assert recipes.pairs(key) == []


def test_contenders_take_turns(recipes, server, key):
    """In the order in which they came; whoever is answered has its key under its lease (J3)."""
    leases = [server.grant(600).ID for _ in range(4)]
    held = recipes.lock(key, leases[0]).key
    waiting = []
    for number, lease in enumerate(leases[1:]):
        waiting.append(recipes.start_lock(key, lease))
        recipes.wait_for_pairs(key, number + 2)
    for lease, call in zip(leases[1:], waiting):
        assert not call.done()
        recipes.unlock(held)
        held = call.result().key
        kv = recipes.owned(held, lease)
        assert kv.create_revision == min(one.create_revision for one in recipes.pairs(key))
    recipes.unlock(held)
    assert recipes.pairs(key) == []


def test_a_cancelled_contender_leaves_nothing(recipes, server, key):
    first, second = server.grant(600).ID, server.grant(600).ID
    held = recipes.lock(key, first).key
    call = recipes.start_lock(key, second)
    recipes.wait_for_pairs(key, 2)
    call.cancel()
    recipes.wait_for_pairs(key, 1)
    recipes.owned(held, first)


def test_a_lock_ends_with_its_lease(recipes, server, key):
    """An old holder knows nothing of it, and its fenced writes fail (J4)."""
    first, second = server.grant(600).ID, server.grant(600).ID
    old = recipes.owned(recipes.lock(key, first).key, first)
    call = recipes.start_lock(key, second)
    recipes.wait_for_pairs(key, 2)
    target = key + b"protected"
    assert recipes.fenced_put(old.key, old.create_revision, target, b"by the first")
    server.revoke(first)
    new = recipes.owned(call.result().key, second)
    assert new.create_revision > old.create_revision
    assert not recipes.fenced_put(old.key, old.create_revision, target, b"too late")
    assert recipes.fenced_put(new.key, new.create_revision, target, b"by the second")
    # A lease and key of the old name: another life, another token.
    server.grant(600, id=first)
    recipes.unlock(new.key)
    again = recipes.owned(recipes.lock(key, first).key, first)
    assert again.key == old.key
    assert not recipes.fenced_put(old.key, old.create_revision, target, b"too late")
    assert recipes.fenced_put(again.key, again.create_revision, target, b"again")
    assert server.get(target).kvs[0].value == b"again"


def test_every_lock_that_is_answered_is_owned(recipes, server, key):
    """Contenders whose leases are revoked at random: whoever is told to have the lock had its key
    under its lease, and no token is ever given twice (J3, J4)."""
    if server.kind == "etcd":
        pytest.skip("etcd 3.4 gives locks to contenders whose lease is gone")
    random = Random(3)
    tokens, failures = [], []

    def contend(number):
        for _ in range(12):
            lease = server.grant(600).ID
            call = recipes.start_lock(key, lease)
            if random.random() < 0.4:
                server.revoke(lease)
            try:
                locked = call.result().key
            except grpc.RpcError as error:
                assert "session is expired" in error.details() or (
                    "lease not found" in error.details()), error.details()
                continue
            kvs = server.get(locked).kvs
            if kvs:
                # Nobody else may be before it while its key is there.
                assert kvs[0].lease == lease
                tokens.append(kvs[0].create_revision)
                first = min(one.create_revision for one in recipes.pairs(key))
                assert first >= kvs[0].create_revision
                assert recipes.fenced_put(locked, kvs[0].create_revision, key + b"p", b"%d" % number)
            else:
                assert server.time_to_live(lease).TTL == -1, "only with its lease"
            recipes.unlock(locked)

    def guarded(number):
        try:
            contend(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    assert tokens and len(tokens) == len(set(tokens))
    assert tokens == sorted(tokens)
    assert recipes.pairs(key) == []


def test_campaign_proclaim_and_resign(recipes, server, key):
    first, second = server.grant(600).ID, server.grant(600).ID
    code, text = failure(recipes.leader, key)
    assert text == "election: no leader"
    leader = recipes.campaign(key, first, b"one")
    kv = recipes.owned(leader.key, first)
    assert (leader.name, leader.key, leader.rev, leader.lease) == (
        key, key + b"/%x" % first, kv.create_revision, first)
    assert recipes.leader(key) == kv and kv.value == b"one"
    with contextlib.closing(cancelled_at_last(recipes.observe(key))) as observed:
        assert next(observed).kv.value == b"one"
        waiting = recipes.start_campaign(key, second, b"two")
        recipes.wait_for_pairs(key, 2)
        recipes.proclaim(leader, b"one again")
        assert next(observed).kv.value == b"one again"
        assert recipes.leader(key).value == b"one again" and not waiting.done()
        recipes.resign(leader)
        next_leader = waiting.result().leader
        assert recipes.owned(next_leader.key, second).value == b"two"
        assert next_leader.rev > leader.rev
        seen = next(observed).kv
        assert (seen.key, seen.value) == (next_leader.key, b"two")
        # Who resigned is no leader any more, and knows it by its revision (J4).
        assert failure(recipes.proclaim, leader, b"still me")[1] == "election: not leader"
        assert not recipes.fenced_put(leader.key, leader.rev, key + b"p", b"still me")
        assert recipes.fenced_put(next_leader.key, next_leader.rev, key + b"p", b"me")
        recipes.resign(leader)
        assert recipes.leader(key).value == b"two", "to resign twice is to do nothing"
        recipes.proclaim(next_leader, b"two again")
        assert next(observed).kv.value == b"two again"
        recipes.resign(next_leader)
    assert recipes.pairs(key) == []


def cancelled_at_last(call):
    """The answers of a call, which ends when they are closed."""
    try:
        yield from call
    finally:
        call.cancel()


def test_campaign_again_is_a_proclamation(recipes, server, key):
    lease = server.grant(600).ID
    leader = recipes.campaign(key, lease, b"one")
    assert recipes.campaign(key, lease, b"two") == leader
    assert recipes.leader(key).value == b"two"
    recipes.resign(leader)


def test_leadership_ends_with_the_lease(recipes, server, key):
    first, second = server.grant(600).ID, server.grant(600).ID
    old = recipes.campaign(key, first, b"one")
    waiting = recipes.start_campaign(key, second, b"two")
    recipes.wait_for_pairs(key, 2)
    server.revoke(first)
    new = waiting.result().leader
    assert recipes.owned(new.key, second).value == b"two"
    assert failure(recipes.proclaim, old, b"still me")[1] == "election: not leader"
    assert recipes.leader(key).value == b"two"


def test_observe_before_there_is_a_leader(recipes, server, key):
    with contextlib.closing(cancelled_at_last(recipes.observe(key))) as observed:
        lease = server.grant(600).ID
        leader = recipes.campaign(key, lease, b"first of all")
        assert next(observed).kv.value == b"first of all"
        recipes.resign(leader)
        again = recipes.campaign(key, lease, b"once more")
        seen = next(observed).kv
        assert (seen.value, seen.create_revision) == (b"once more", again.rev)


def test_a_cancelled_candidate_leaves_nothing(recipes, server, key):
    first, second = server.grant(600).ID, server.grant(600).ID
    leader = recipes.campaign(key, first, b"one")
    call = recipes.start_campaign(key, second, b"two")
    recipes.wait_for_pairs(key, 2)
    call.cancel()
    recipes.wait_for_pairs(key, 1)
    recipes.owned(leader.key, first)
